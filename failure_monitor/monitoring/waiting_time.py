# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Estimates how long a message has waited before it was read, although clocks may differ.

The time from a message's publication, by its publisher's clock, to its reading, by this process's
monotonic clock, is the wait plus an unknown constant. The least of recent messages stands for a
message that did not wait.
"""

from __future__ import annotations

from collections import deque

MEMORY = 5.0
"""Seconds for which a message is compared with those after it."""


class WaitingTime:
    """The waiting times of one topic's messages."""

    def __init__(self) -> None:
        self._least: deque[tuple[float, float]] = deque()

    def update(self, stamp: int | None, now: float) -> float:
        """Return for how many seconds a message has waited longer than recent ones at least.

        Args:
            stamp: when it was published, in nanoseconds of its publisher's clock; None if unknown,
                for which the wait counts as 0.
            now: when it is read, in seconds of a monotonic clock.
        """
        if stamp is None:
            return 0.0
        passed = now - 1e-9 * stamp
        # The last one is kept whatever its age: of rare messages there is no other.
        while len(self._least) > 1 and now - self._least[0][0] > MEMORY:
            self._least.popleft()
        while self._least and self._least[-1][1] >= passed:
            self._least.pop()
        self._least.append((now, passed))
        return passed - self._least[0][1]
