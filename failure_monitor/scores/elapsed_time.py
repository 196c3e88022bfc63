# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Elapsed time: the control that every other score must outperform.

    score(t) = t, the number of decisions so far, this one included

Failed rollouts run to their time limit and successful ones end early, so a stop-watch separates
them well in hindsight; it predicts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.score import ScoreState, TimedScore


class ElapsedTime(TimedScore):
    """The number of decisions so far."""

    name = "elapsed_time"
    meaning = "it takes longer than successful rollouts"

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0) -> ElapsedTime:
        """There is nothing to fit."""
        return cls()

    def score_decisions(self, rollout: Rollout, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the numbers, counted from 1; (T,)."""
        return numbers.astype(np.float64) + 1

    def state(self) -> ScoreState:
        """Return an empty state."""
        return ScoreState()

    @classmethod
    def from_state(cls, state: ScoreState) -> ElapsedTime:
        """Restore the score."""
        return cls()
