# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the watch of a promise needs of a finished rollout: its largest values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Verdict


@dataclass(frozen=True)
class FinishedRollout:
    """The largest values of a rollout over its decisions.

    Attributes:
        task: its task; empty where the bundle needs no name.
        level: the rule's level.
        rollouts_below: how many calibration rollouts lie below it; None if the bundle compares
            levels.
        scores: the normalised scores, by name; without those that were never defined.
        by_fold: (F, K), the normalised scores by the models of each fold, in the rule's order;
            NaN where they were never defined. None if they are unknown.
    """

    task: str
    level: float
    rollouts_below: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    by_fold: NDArray[np.float64] | None = field(default=None, compare=False)


class LargestValues:
    """The largest values of the rollout that is running."""

    def __init__(self, task: str = "") -> None:
        """Start a rollout of a task."""
        self._task = task
        self._level: float | None = None
        self._rollouts_below: int | None = None
        self._scores: dict[str, float] = {}
        self._by_fold: NDArray[np.float64] | None = None

    def update(self, verdict: Verdict) -> None:
        """Receive the verdict on the next decision."""
        # A level that is NaN calls for an alarm.
        level = math.inf if math.isnan(verdict.level) else verdict.level
        self._level = level if self._level is None else max(self._level, level)
        if verdict.rollouts:
            self._rollouts_below = max(self._rollouts_below or 0, verdict.rollouts_below)
        self._by_fold = verdict.largest_by_fold
        for score in verdict.scores:
            if score.is_defined:
                largest = self._scores.get(score.name, -math.inf)
                self._scores[score.name] = max(largest, score.normalised)

    def exceed(self) -> None:
        """Receive that a decision was beyond the limits of its values, which is an alarm."""
        self._level = math.inf

    @property
    def finished(self) -> FinishedRollout | None:
        """The rollout, if it ended now; None without a decision."""
        if self._level is None:
            return None
        return FinishedRollout(
            self._task, self._level, self._rollouts_below, dict(self._scores), self._by_fold
        )
