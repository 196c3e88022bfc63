# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Chunk lag: how far what the policy plans is behind what it planned in successful rollouts.

    score(A, t) = max(0, t − median of t_i),    over the 8 nearest mean chunks ā_i of the fitting
                                                rollouts, planned at their decisions t_i

of standardised mean chunks, in decisions; one that is further from all ā_i than these are from one
another counts as planned at decision 0. It sees a policy that still plans an early part of the
task, as after a grasp that failed, also where the observations have moved on; `lag` uses the
observations instead. Like elapsed time it cannot fall behind early in a rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.scores.base.nearest_neighbours import NearestNeighbours
from failure_monitor.scores.base.standardisation import Standardisation, mean_chunks
from failure_monitor.scores.lag import Lag

COMPONENTS = 16
"""Most directions in which mean chunks are compared."""


class ChunkLag(Lag):
    """The decisions by which similar mean chunks came earlier in the fitting rollouts."""

    name = "chunk_lag"
    meaning = "its actions are behind those of successful rollouts"

    @classmethod
    def fit_together(
        cls,
        rollouts: Sequence[Rollout],
        folds: NDArray[np.int64] | None,
        policy: PolicyFormat,
        seed: int = 0,
    ) -> ChunkLag:
        """Remember the mean chunks of the rollouts, and when they were planned.

        Raises:
            ScoreUndefinedError: the mean chunks never change.
        """
        # Rejected here by its own name; the neighbours would name embeddings.
        Standardisation.of_mean_chunks(rollouts, cls.name)
        planned = [replace(rollout, embeddings=mean_chunks(rollout)) for rollout in rollouts]
        return cls(NearestNeighbours.fit(planned, seed, cls.name, folds, COMPONENTS))

    def score_decision(self, decision: Decision, number: int) -> NDArray[np.float64]:
        """Return the lag for every model, (F,), in decisions."""
        return self._behind(self._neighbours.features.of_mean_chunk(decision), number)
