# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Notices that a node stood still, so that what waited meanwhile is not carried out long after.

It reads no clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

MAX_STALL = 1.0
"""Seconds for which a node may stand still: who has asked for something may still expect it."""

SETTLING = 0.5
"""Seconds after a stall within which a node has read what waited."""


class StallWatch:
    """A regular beat, whose absence is a stall.

    The middleware does not tell when a request was sent. One that is read after a stall may have
    waited through it, and whoever has sent it may have given up.
    """

    def __init__(self, period: float) -> None:
        """Watch from the first beat on.

        Args:
            period: seconds between two beats.
        """
        self._max_gap = max(MAX_STALL, 2 * period)
        self.restart()

    def restart(self) -> None:
        """Watch from the next beat on: what is done meanwhile was asked for."""
        self._last_beat: float | None = None
        self._settled_at = float("-inf")

    def beat(self, now: float) -> bool:
        """Receive a beat; return whether a stall precedes it."""
        is_late = self._is_late(now)
        if is_late:
            self._settled_at = now + SETTLING
        self._last_beat = now
        return is_late

    def rejection(self, now: float) -> str:
        """Return why a request that is read now is rejected; empty if it is not."""
        if not self._is_late(now) and now >= self._settled_at:
            return ""
        return f"read after the monitor stood still for more than {MAX_STALL:g} s: ask again"

    def _is_late(self, now: float) -> bool:
        return self._last_beat is not None and now - self._last_beat > self._max_gap
