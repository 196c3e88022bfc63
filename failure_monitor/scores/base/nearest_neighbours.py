# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The fitting decisions that are nearest to a decision, for the scores that compare with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.score import Score, ScoreState
from failure_monitor.scores.base.standardisation import Standardisation

MAX_DECISIONS = 4000
"""Fitting decisions that are kept, at random where there are more: a search stays below 1 ms."""


@dataclass(frozen=True, eq=False)
class NearestNeighbours:
    """The embeddings of fitting decisions, and what is wanted of the nearest ones.

    Attributes:
        standardisation: of the embeddings.
        memory: float32 (N, V), the standardised embeddings, in order of their numbers.
        numbers: int64 (N,), which decision of its rollout each one was, from 0.
    """

    standardisation: Standardisation
    memory: NDArray[np.float32]
    numbers: NDArray[np.int64]

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], seed: int, score: str) -> NearestNeighbours:
        """Remember the embeddings of the rollouts, for the score of that name.

        Raises:
            ScoreUndefinedError: the embeddings never change.
        """
        standardisation = Standardisation.of_embeddings(rollouts, score)
        chosen = choose_decisions(rollouts, MAX_DECISIONS, seed)
        embeddings = np.concatenate([rollout.embeddings for rollout in rollouts])[chosen]
        memory = standardisation(embeddings).astype(np.float32)
        return cls(standardisation, memory, decision_numbers(rollouts)[chosen])

    @cached_property
    def _squared_norms(self) -> NDArray[np.float32]:
        return np.asarray(np.einsum("nv,nv->n", self.memory, self.memory))

    @cached_property
    def diameter(self) -> float:
        """A distance that no two of the fitting decisions exceed."""
        return float(2 * np.sqrt(self._squared_norms.max()))

    def queries(self, rollout: Rollout) -> NDArray[np.float32]:
        """Return the standardised embeddings of a rollout, (T, V)."""
        return self.standardisation(rollout.embeddings).astype(np.float32)

    def nearest(
        self, queries: NDArray[np.float32], count: int, among: slice = slice(None)
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the `count` nearest fitting decisions, or all if there are fewer.

        Args:
            queries: (T, V), standardised embeddings.
            count: how many to find for each.
            among: the part of the memory to search.

        Returns:
            Their places in the memory, (T, count), and their distances, (T, count).
        """
        memory = self.memory[among]
        # ‖m − q‖² − ‖q‖². A product per query, so that one and many come out alike to the last
        # bit: neighbours at equal distances are then the same in both forms of a score.
        products = np.matmul(memory, queries[:, :, np.newaxis])[..., 0]
        ranks = self._squared_norms[among] - 2 * products
        count = min(count, len(memory))
        places = np.argpartition(ranks, count - 1, axis=1)[:, :count]
        # Squares that cancel are good enough to choose by, not to measure with.
        apart = memory[places].astype(np.float64) - queries[:, np.newaxis]
        return places + (among.start or 0), np.linalg.norm(apart, axis=-1)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what is to be stored."""
        return {
            "memory": self.memory,
            "numbers": self.numbers,
            **self.standardisation.arrays("embedding"),
        }

    @classmethod
    def from_state(cls, state: ScoreState) -> NearestNeighbours:
        """Return the ones that were stored."""
        return cls(
            standardisation=Standardisation.from_state(state, "embedding"),
            memory=state.arrays["memory"].astype(np.float32),
            numbers=state.arrays["numbers"].astype(np.int64),
        )


class NeighbourScore(Score):
    """A score that only searches the nearest of the fitting embeddings."""

    def __init__(self, neighbours: NearestNeighbours) -> None:
        """Create the score from the embeddings to compare with."""
        self._neighbours = neighbours

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> NeighbourScore:
        """Remember the embeddings of the rollouts, and when they were taken.

        Raises:
            ScoreUndefinedError: the embeddings never change.
        """
        return cls(NearestNeighbours.fit(rollouts, seed, cls.name))

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
