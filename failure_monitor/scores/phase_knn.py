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

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision
from failure_monitor.scores.base.nearest_neighbours import NeighbourScore
from failure_monitor.scores.base.together_score import TimedTogetherScore

NEIGHBOURS = 8
PHASE_WIDTH = 3
"""Decisions before and after the present one that make up a phase."""


class PhaseNeighbourDistance(NeighbourScore, TimedTogetherScore):
    """The mean distance to the nearest fitting embeddings of about the same time."""

    name = "phase_knn"
    meaning = "what it sees is unusual for this time"

    def score_decision(self, decision: Decision, number: int) -> NDArray[np.float64]:
        """Return the mean distance for every model, (F,)."""
        query = self._neighbours.features.of_embedding(decision)
        return self._apart_from_phase(query, number)

    def _apart_from_phase(self, query: NDArray[np.float32], number: int) -> NDArray[np.float64]:
        """Return the mean distance to what is nearest of the phase of that decision, (F,)."""
        among, about = self._phases[min(number, len(self._phases) - 1)]
        nearest = self._neighbours.nearest(query, NEIGHBOURS, among, about, PHASE_WIDTH)
        return self._neighbours.mean_distances(query, nearest)

    @cached_property
    def _phases(self) -> list[tuple[slice, NDArray[np.int64] | None]]:
        """Which part of the memory, ordered by time, is each decision's phase.

        Models that remember nothing of that time have another phase than the others. Then the
        part is of them all, and beside it stands about which time each model's phase is.
        """
        times = self._neighbours.numbers
        numbers = np.arange(times[-1] + 1)
        phases = []
        for centres in self._centres(numbers).T:
            start = np.searchsorted(times, centres.min() - PHASE_WIDTH, side="left")
            end = np.searchsorted(times, centres.max() + PHASE_WIDTH, side="right")
            agree = (centres == centres[0]).all()
            phases.append((slice(int(start), int(end)), None if agree else centres))
        return phases

    def _centres(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return about which time each model's phase is at decisions (T,), (F, T).

        It is the next time that the model remembers, or the last one: no phase is empty.
        """
        neighbours, centres = self._neighbours, []
        for model in range(self.models):
            times = neighbours.numbers[neighbours.folds != model]
            centres.append(times[np.minimum(np.searchsorted(times, numbers), len(times) - 1)])
        return np.stack(centres)
