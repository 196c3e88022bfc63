# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The permit as the gate sees it: a permission that runs out by itself."""

from __future__ import annotations


class PermitLease:
    """Open only while the last permit said so and is younger than the lease.

    Pure: times are seconds of a monotonic clock, handed in. Closed before the first permit.
    """

    def __init__(self, lease: float) -> None:
        """A closed gate.

        Args:
            lease: for how many seconds one permit is good.
        """
        self._lease = lease
        self._heard = False
        self._permitted = False
        self._heard_at = 0.0

    def hear(self, permitted: bool, now: float) -> None:
        """Take a permit, or its withdrawal."""
        self._heard, self._permitted, self._heard_at = True, permitted, now

    def is_open(self, now: float) -> bool:
        """Whether a command may pass at this moment."""
        return self._permitted and now - self._heard_at < self._lease

    def reason(self, now: float) -> str:
        """Why the gate is open or closed."""
        if not self._heard:
            return "no permit has come yet: is the monitor running?"
        if now - self._heard_at >= self._lease:
            return f"no permit for {self._lease:g} s: the monitor is gone, hangs or is cut off"
        return "the monitor permits" if self._permitted else "the monitor withholds its permit"
