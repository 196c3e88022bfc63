# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Retrieval: whether the policy does what it did on similar observations.

    score(e, A) = min ‖ā − ā_i‖₂,    over the 8 nearest embeddings e_i of the fitting rollouts

with ā the mean over the sampled chunks of a decision, and everything standardised. The minimum,
since a policy may have had several ways to go on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.scores.base.nearest_neighbours import (
    MAX_DECISIONS,
    NearestNeighbours,
    choose_decisions,
)
from failure_monitor.scores.base.score import InstantScore, ScoreState
from failure_monitor.scores.base.standardisation import Standardisation, mean_chunks

NEIGHBOURS = 8


class Retrieval(InstantScore):
    """The distance of the mean chunk to those of the nearest fitting decisions."""

    name = "retrieval"
    meaning = "it does something else than in similar situations"

    def __init__(
        self,
        *,
        neighbours: NearestNeighbours,
        standardisation: Standardisation,
        chunks: NDArray[np.float32],
    ) -> None:
        """Create the score from what was done in which situation.

        Args:
            neighbours: the embeddings.
            standardisation: of mean chunks.
            chunks: (N, V), the standardised mean chunk that belongs to each embedding.
        """
        self._neighbours = neighbours
        self._standardisation = standardisation
        self._chunks = chunks

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0) -> Retrieval:
        """Remember the embeddings and mean chunks of the rollouts.

        Raises:
            ScoreUndefinedError: the embeddings or the mean chunks never change.
        """
        standardisation = Standardisation.of_mean_chunks(rollouts, cls.name)
        chosen = choose_decisions(rollouts, MAX_DECISIONS, seed)
        chunks = np.concatenate([mean_chunks(rollout) for rollout in rollouts])[chosen]
        return cls(
            neighbours=NearestNeighbours.fit(rollouts, seed, cls.name),
            standardisation=standardisation,
            chunks=standardisation(chunks).astype(np.float32),
        )

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the distance at every decision, (T,)."""
        chunks = self._standardisation(mean_chunks(rollout))
        nearest = [self._chunks[self._places(decision)] for decision in rollout.decisions()]
        apart = np.stack(nearest) - chunks[:, np.newaxis]
        return np.asarray(np.linalg.norm(apart, axis=-1).min(axis=1))

    def score_samples(self, decision: Decision) -> NDArray[np.float32]:
        """Return the score that each sampled chunk would have if it were the mean one, (B,)."""
        chunks = decision.chunks.reshape(len(decision.chunks), -1)
        standardised = self._standardisation(chunks).astype(np.float32)
        apart = standardised[:, np.newaxis] - self._chunks[self._places(decision)]
        return np.asarray(np.linalg.norm(apart, axis=-1).min(axis=1))

    def _places(self, decision: Decision) -> NDArray[np.int64]:
        """Return where the nearest embeddings are remembered."""
        query = self._neighbours.features.of_embedding(decision)
        return self._neighbours.nearest(query, NEIGHBOURS).places

    def state(self) -> ScoreState:
        """Return the embeddings and the mean chunks."""
        return ScoreState(
            arrays={
                "chunks": self._chunks,
                **self._standardisation.arrays("chunk"),
                **self._neighbours.arrays(),
            }
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> Retrieval:
        """Restore the score with stored embeddings and mean chunks."""
        return cls(
            neighbours=NearestNeighbours.from_state(state),
            standardisation=Standardisation.from_state(state, "chunk"),
            chunks=state.arrays["chunks"].astype(np.float32),
        )
