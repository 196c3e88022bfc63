# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The normalised scores of the last seconds, to be drawn as curves.

Pure: times are seconds of a monotonic clock, handed in.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Verdict

RULE = "rule"
"""The name of the combined score beside the scores'."""

MAX_DECISIONS = 512
"""Decisions that are remembered, however fast they come."""


class ScoreHistory:
    """Remembers verdicts for some seconds."""

    def __init__(self, seconds: float) -> None:
        """Nothing yet.

        Args:
            seconds: for how long.
        """
        self.seconds = seconds
        """For how long."""
        self._verdicts: deque[tuple[float, dict[str, float]]] = deque(maxlen=MAX_DECISIONS)

    def add(self, verdict: Verdict, now: float) -> None:
        """Remember the scores of one more decision."""
        self._verdicts.append((now, levels(verdict)))

    def clear(self) -> None:
        """Forget all: another rollout begins."""
        self._verdicts.clear()

    def curve(self, name: str, now: float) -> NDArray[np.float64]:
        """The finite values of a score over the last seconds, oldest first.

        Returns:
            Seconds before `now` and normalised scores, (N, 2).
        """
        points = [
            (now - then, scores[name])
            for then, scores in self._verdicts
            if now - then <= self.seconds and name in scores
        ]
        curve = np.array(points, np.float64).reshape(-1, 2)
        return curve[np.isfinite(curve[:, 1])]


def levels(verdict: Verdict) -> dict[str, float]:
    """The normalised score of every score, and last of the rule, by name; NaN is undefined."""
    scores = {score.name: score.normalised for score in verdict.scores}
    return {**scores, RULE: float("nan") if verdict.is_silent else verdict.level}
