# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The fitting decisions that are nearest to a decision, for the scores that compare with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.principal_components import PrincipalFeatures
from failure_monitor.scores.base.score import ScoreState
from failure_monitor.scores.base.together_score import TogetherScore

MAX_DECISIONS = 4000
"""Fitting decisions that are kept, at random where there are more: a search stays below 1 ms."""
TO_SPARE = 3
"""So many times the neighbours wanted are looked up first, so that every fold can do without its
own."""
OF_NO_FOLD = -1


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The fitting decisions that are nearest to one decision, for each of F models.

    Attributes:
        places: (K,), their places in the memory, nearest first.
        squared: float32 (K,), their squared distances, good enough to choose by.
        counted: (F, K), which of them are among the nearest that each model remembers.
        count: how many these are: one number where it is that of all models, or else (F,).
    """

    places: NDArray[np.int64]
    squared: NDArray[np.float32]
    counted: NDArray[np.bool_]
    count: int | NDArray[np.int64]

    @property
    def least_squared(self) -> NDArray[np.float32]:
        """The squared distance of the nearest for each model, (F,)."""
        return np.asarray(self.squared[self.counted.argmax(axis=1)])

    def medians(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the median for each model, (F,), of numbers of all that is remembered (N,)."""
        ordered = np.where(self.counted, numbers[self.places], np.inf)
        ordered.sort(axis=1)
        if isinstance(self.count, int):
            middle = ordered[:, (self.count - 1) // 2] + ordered[:, self.count // 2]
        else:
            models = np.arange(len(ordered))
            middle = ordered[models, (self.count - 1) // 2] + ordered[models, self.count // 2]
        return np.asarray(middle / 2)


@dataclass(frozen=True, eq=False)
class NearestNeighbours:
    """The embeddings of fitting decisions, and what is wanted of the nearest ones.

    Attributes:
        features: of the embeddings.
        memory: float32 (N, V), these features of the embeddings, in order of their numbers.
        numbers: int64 (N,), which decision of its rollout each one was, from 0.
        folds: int64 (N,), the fold of each, whose model does not remember it; or `OF_NO_FOLD`.
        models: F, how many models share the memory.
    """

    features: PrincipalFeatures
    memory: NDArray[np.float32]
    numbers: NDArray[np.int64]
    folds: NDArray[np.int64]
    models: int = 1

    @classmethod
    def fit(
        cls,
        rollouts: Sequence[Rollout],
        seed: int,
        score: str,
        folds: NDArray[np.int64] | None = None,
        components: int | None = None,
    ) -> NearestNeighbours:
        """Remember the embeddings of the rollouts, for the score of that name.

        Args:
            rollouts: n of them.
            seed: of the choice among too many decisions.
            score: what errors call it.
            folds: (n,), the fold of each; None for a single model of them all.
            components: in how many directions to compare at most; None for all.

        Raises:
            ScoreUndefinedError: the embeddings never change.
        """
        embeddings = np.concatenate([rollout.embeddings for rollout in rollouts])
        features = PrincipalFeatures.fit(embeddings, f"{score}: the embeddings", components)
        chosen = choose_decisions(rollouts, MAX_DECISIONS, seed)
        if folds is None:
            folds = np.full(len(rollouts), OF_NO_FOLD)
        return cls(
            features,
            memory=np.stack([features(embedding) for embedding in embeddings[chosen]]),
            numbers=decision_numbers(rollouts)[chosen],
            folds=np.repeat(folds, [len(rollout) for rollout in rollouts])[chosen],
            models=max(int(folds.max()) + 1, 1),
        )

    @cached_property
    def _squared_norms(self) -> NDArray[np.float32]:
        return np.asarray(np.einsum("nv,nv->n", self.memory, self.memory))

    @cached_property
    def squared_diameters(self) -> NDArray[np.float32]:
        """The square of a distance that no two of what each model remembers exceed, (F,)."""
        largest = [
            self._squared_norms[self.folds != model].max(initial=0) for model in range(self.models)
        ]
        return 4 * np.array(largest, dtype=np.float32)

    @cached_property
    def _remembered(self) -> NDArray[np.bool_]:
        """What each model remembers, (F, N)."""
        return np.asarray(self.folds != np.arange(self.models)[:, np.newaxis])

    def nearest(
        self,
        query: NDArray[np.float32],
        count: int,
        among: slice = slice(None),
        about: NDArray[np.int64] | None = None,
        within: int = 0,
    ) -> Neighbours:
        """Return the `count` nearest of what each model remembers, or all if there are fewer.

        Args:
            query: (V,), the features of an embedding.
            count: how many to find for each.
            among: the part of the memory to search.
            about: (F,), about which decision's number each model remembers; None for any.
            within: so many decisions before and after.
        """
        memory = self.memory[among]
        # ‖m − q‖² − ‖q‖², in which squares cancel: good enough to choose by, not to measure with.
        ranks = memory @ (-2 * query)
        ranks += self._squared_norms[among]
        wanted = count if self.models == 1 and about is None else TO_SPARE * count
        while True:
            wanted = min(wanted, len(memory))
            places = ranks.argpartition(wanted - 1)[:wanted]
            ordered = ranks[places]
            order = ordered.argsort(kind="stable")
            places, ordered = places[order], ordered[order]
            if among.start:
                places = places + among.start
            remembered = self._remembered.take(places, axis=1)
            if about is not None:
                remembered &= np.abs(self.numbers[places] - about[:, np.newaxis]) <= within
            counts = remembered.cumsum(axis=1)
            # Up to there every model has as many as it wants.
            end = int(counts.min(axis=0).searchsorted(count)) + 1
            has_all = end <= wanted
            if has_all or wanted == len(memory):
                counted = remembered[:, :end] & (counts[:, :end] <= count)
                return Neighbours(
                    places[:end],
                    ordered[:end] + query @ query,
                    counted,
                    count if has_all else np.minimum(counts[:, -1], count),
                )
            wanted *= TO_SPARE

    def mean_distances(
        self, query: NDArray[np.float32], nearest: Neighbours
    ) -> NDArray[np.float64]:
        """Return the mean distance to those that each model counts, (F,)."""
        apart = self.memory.take(nearest.places, axis=0)
        apart -= query
        distances = np.sqrt(np.einsum("kv,kv->k", apart, apart))
        return np.asarray(nearest.counted.astype(np.float64) @ distances / nearest.count)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what is to be stored."""
        return {
            "memory": self.memory,
            "numbers": self.numbers,
            **({} if self.models == 1 else {"folds": self.folds, "models": np.array(self.models)}),
            **self.features.arrays("embedding"),
        }

    @classmethod
    def from_state(cls, state: ScoreState) -> NearestNeighbours:
        """Return the ones that were stored."""
        numbers = state.arrays["numbers"].astype(np.int64)
        of_no_fold = np.full(len(numbers), OF_NO_FOLD)
        return cls(
            features=PrincipalFeatures.from_state(state, "embedding"),
            memory=state.arrays["memory"].astype(np.float32),
            numbers=numbers,
            folds=state.arrays.get("folds", of_no_fold).astype(np.int64),
            models=int(state.arrays.get("models", 1)),
        )


NeighbourScoreType = TypeVar("NeighbourScoreType", bound="NeighbourScore")


class NeighbourScore(TogetherScore):
    """A score that only searches the nearest of the fitting embeddings."""

    def __init__(self, neighbours: NearestNeighbours) -> None:
        """Create the score from the embeddings to compare with."""
        self._neighbours = neighbours

    @property
    def models(self) -> int:
        """F, how many models there are."""
        return self._neighbours.models

    @classmethod
    def fit_together(
        cls: type[NeighbourScoreType],
        rollouts: Sequence[Rollout],
        folds: NDArray[np.int64] | None,
        policy: PolicyFormat,
        seed: int = 0,
    ) -> NeighbourScoreType:
        """Remember the embeddings of the rollouts, and when they were taken.

        Raises:
            ScoreUndefinedError: the embeddings never change.
        """
        return cls(NearestNeighbours.fit(rollouts, seed, cls.name, folds))

    def state(self) -> ScoreState:
        """Return the embeddings and when they were taken."""
        return ScoreState(arrays=self._neighbours.arrays())

    @classmethod
    def from_state(cls, state: ScoreState) -> NeighbourScore:
        """Restore the score with stored embeddings."""
        return cls(NearestNeighbours.from_state(state))


def decision_numbers(rollouts: Sequence[Rollout]) -> NDArray[np.int64]:
    """Return the number of each decision in its rollout, from 0; rollouts in a row, (N,)."""
    return np.concatenate([np.arange(len(rollout)) for rollout in rollouts])


def choose_decisions(rollouts: Sequence[Rollout], most: int, seed: int) -> NDArray[np.int64]:
    """Return at most `most` of the rollouts' decisions, at random, ordered by their numbers.

    The choice and the order, also among decisions of one number, depend on the decisions alone
    and not on the order of the rollouts.

    Returns:
        Their places among all decisions, the rollouts in a row.
    """
    random = np.random.default_rng(seed)
    embeddings = np.concatenate([rollout.embeddings for rollout in rollouts]).astype(np.float64)
    projected = embeddings @ random.normal(size=embeddings.shape[1])
    order = np.lexsort((projected, decision_numbers(rollouts)))
    if len(order) <= most:
        return order
    return order[np.sort(random.choice(len(order), most, replace=False))]
