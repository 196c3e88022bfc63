# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Distance to the fitting embeddings of the same phase: what is usually seen at such a time.

    score(e, t) = mean of ‖e − e_i‖₂ over the 8 nearest of the embeddings e_i that were taken at
                  decisions t − 3 … t + 3 of the fitting rollouts

of standardised embeddings; over all of them where there are fewer than 8. Past the end of the
longest fitting rollout its last decisions are the phase. The same embedding is familiar at one
time of a rollout and wrong at another, which `knn` cannot see.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.nearest_neighbours import NeighbourScore
from failure_monitor.scores.base.score import TimedScore

NEIGHBOURS = 8
PHASE_WIDTH = 3
"""Decisions before and after the present one that make up a phase."""


class PhaseNeighbourDistance(NeighbourScore, TimedScore):
    """The mean distance to the nearest fitting embeddings of about the same time."""

    name = "phase_knn"
    meaning = "what it sees is unusual for this time"

    def score_decisions(self, rollout: Rollout, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mean distance at every decision, (T,)."""
        queries = self._neighbours.queries(rollout)
        means = np.empty(len(numbers))
        for place, phase in enumerate(self._phases(numbers)):
            _, distances = self._neighbours.nearest(queries[[place]], NEIGHBOURS, phase)
            means[place] = distances.mean()
        return means

    def _phases(self, numbers: NDArray[np.int64]) -> list[slice]:
        """Return which part of the memory, ordered by time, is each decision's phase."""
        times = self._neighbours.numbers
        # The next time that is remembered, or the last one: no phase is empty.
        centres = times[np.minimum(np.searchsorted(times, numbers), len(times) - 1)]
        starts = np.searchsorted(times, centres - PHASE_WIDTH, side="left")
        ends = np.searchsorted(times, centres + PHASE_WIDTH, side="right")
        return [slice(start, end) for start, end in zip(starts, ends, strict=True)]
