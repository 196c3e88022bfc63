# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether decisions come as often as in calibration, or some may be missing.

That observations are embedded and no decision on them arrives may be meant, or the decision may be
missing: nothing but the time between decisions tells. Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque

LATE = 2.5
"""Factor of the longest time between two decisions of calibration above which a gap is late."""

WINDOW, WINDOW_GAPS = 10.0, 20.0
"""Seconds for which late gaps are remembered, and as a multiple of the longest of calibration."""

MAX_LATE = 2
"""Number of late gaps in that time that a busy machine may cause."""


class DecisionPace:
    """The times between the decisions of a rollout."""

    def __init__(self, longest: float) -> None:
        """Start without a decision.

        Args:
            longest: the longest time between two decisions in calibration; 0 if it is unknown.
        """
        self._longest = longest
        self._window = max(WINDOW, WINDOW_GAPS * longest)
        self.start_rollout()

    def start_rollout(self) -> None:
        """Start a rollout: the time before its first decision is no gap."""
        self._last: float | None = None
        self._late: deque[tuple[float, float]] = deque()

    def add(self, now: float) -> None:
        """Receive a decision."""
        gap, self._last = 0.0 if self._last is None else now - self._last, now
        if self._longest and gap > LATE * self._longest:
            self._late.append((now, gap))
        self._forget(now)

    def warning(self, now: float) -> str:
        """Return that decisions come too seldom; empty if they do not."""
        self._forget(now)
        if len(self._late) <= MAX_LATE:
            return ""
        return (
            f"{len(self._late)} times in {self._window:g} s a decision came up to "
            f"{max(gap for _, gap in self._late):.2g} s after the one before, in calibration at "
            f"most {self._longest:.2g} s: action chunks are missing, or the policy is slower"
        )

    def _forget(self, now: float) -> None:
        while self._late and now - self._late[0][0] > self._window:
            self._late.popleft()
