# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The normalised scores of the last seconds, for drawing them as curves.

It reads no clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

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
        self._decisions: deque[tuple[float, Mapping[str, float]]] = deque(maxlen=MAX_DECISIONS)

    def add(self, levels: Mapping[str, float], now: float) -> None:
        """Add the normalised scores of one decision, by name."""
        self._decisions.append((now, levels))

    def clear(self) -> None:
        """Remove all scores, as another rollout starts."""
        self._decisions.clear()

    def curve(self, name: str, now: float) -> NDArray[np.float64]:
        """Return the finite values of a score in the last seconds, oldest first.

        Returns:
            Seconds before `now` and the normalised score, (N, 2).
        """
        points = [
            (now - then, scores[name])
            for then, scores in self._decisions
            if now - then <= self.seconds and name in scores
        ]
        curve = np.array(points, np.float64).reshape(-1, 2)
        return curve[np.isfinite(curve[:, 1])]
