# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The normalised scores of the last seconds, for drawing them as curves.

It reads no clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Verdict

RULE = "rule"
"""Name of the combined score, beside the names of the scores."""

MAX_DECISIONS = 512
"""Number of decisions kept at most, however fast they arrive."""


class ScoreHistory:
    """The scores of the last seconds."""

    def __init__(self, seconds: float) -> None:
        """Create an empty history.

        Args:
            seconds: how long scores are kept.
        """
        self.seconds = seconds
        """Seconds for which scores are kept."""
        self._verdicts: deque[tuple[float, dict[str, float]]] = deque(maxlen=MAX_DECISIONS)

    def add(self, verdict: Verdict, now: float) -> None:
        """Add the scores of one decision."""
        self._verdicts.append((now, levels(verdict)))

    def clear(self) -> None:
        """Remove all scores, as another rollout starts."""
        self._verdicts.clear()

    def curve(self, name: str, now: float) -> NDArray[np.float64]:
        """Return the finite values of a score in the last seconds, oldest first.

        Returns:
            Seconds before `now` and the normalised score, (N, 2).
        """
        points = [
            (now - then, scores[name])
            for then, scores in self._verdicts
            if now - then <= self.seconds and name in scores
        ]
        curve = np.array(points, np.float64).reshape(-1, 2)
        return curve[np.isfinite(curve[:, 1])]


def levels(verdict: Verdict) -> dict[str, float]:
    """Return the normalised scores by name, the rule's last; NaN where undefined."""
    scores = {score.name: score.normalised for score in verdict.scores}
    return {**scores, RULE: float("nan") if verdict.is_undefined else verdict.level}
