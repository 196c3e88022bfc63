# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Lag: how far the rollout is behind those that succeeded.

    score(e, t) = max(0, t − median of t_i),    over the 8 nearest embeddings e_i of the fitting
                                                rollouts, taken at their decisions t_i

of standardised embeddings, in decisions. An embedding that is further from all e_i than these are
from one another is of no known time, and counts as one of decision 0. The score grows when the
robot makes no progress, long before a time limit; like elapsed time it cannot fall behind early
in a rollout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision
from failure_monitor.scores.base.nearest_neighbours import NeighbourScore
from failure_monitor.scores.base.together_score import TimedTogetherScore

NEIGHBOURS = 8


class Lag(NeighbourScore, TimedTogetherScore):
    """The decisions by which similar observations came earlier in the fitting rollouts."""

    name = "lag"
    meaning = "it is behind successful rollouts"

    def score_decision(self, decision: Decision, number: int) -> NDArray[np.float64]:
        """Return the lag for every model, (F,), in decisions."""
        return self._behind(self._neighbours.features.of_embedding(decision), number)

    def _behind(self, query: NDArray[np.float32], number: int) -> NDArray[np.float64]:
        """Return by how many decisions what is similar came earlier, (F,)."""
        nearest = self._neighbours.nearest(query, NEIGHBOURS)
        expected = nearest.medians(self._neighbours.numbers)
        expected[nearest.least_squared > self._neighbours.squared_diameters] = 0.0
        return np.maximum(number - expected, 0.0)
