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

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.nearest_neighbours import NeighbourScore
from failure_monitor.scores.base.score import TimedScore

NEIGHBOURS = 8


class Lag(NeighbourScore, TimedScore):
    """The decisions by which similar observations came earlier in the fitting rollouts."""

    name = "lag"
    meaning = "it is behind successful rollouts"

    def score_decisions(self, rollout: Rollout, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the lag at every decision, (T,), in decisions."""
        queries = self._neighbours.queries(rollout)
        places, distances = self._neighbours.nearest(queries, NEIGHBOURS)
        expected = np.median(self._neighbours.numbers[places], axis=1)
        expected[distances.min(axis=1) > self._neighbours.diameter] = 0.0
        return np.asarray(np.maximum(numbers - expected, 0.0))
