# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The leases of the permit and of the speed scale: how long the gate relies on what it received.

They read no clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

MIN_SPEED_SCALE = 0.01
"""Speed scale below which the robot is to stand still."""


class PermitLease:
    """The lease of a permit: open while the last permit was granted less than a lease ago.

    It is closed before the first permit. After a silence it opens only when permits, or their
    withdrawals, have arrived for a whole lease again. So what a stopped process or a stalled
    network delivers late and all at once opens nothing.
    """

    def __init__(self, lease: float, topic: str) -> None:
        """Create a closed lease.

        Args:
            lease: seconds for which a permit is valid.
            topic: the permit's topic, for the reasons.
        """
        self._lease = lease
        self._topic = topic
        self._has_received = False
        self._permitted = False
        self._contested = False
        self._received_at = 0.0
        self._steady_since = 0.0
        self._withheld_at = float("-inf")

    def update(self, permitted: bool, now: float, *, contested: bool = False) -> None:
        """Receive a permit, or its withdrawal.

        Args:
            permitted: whether commands are permitted.
            now: the time of reception.
            contested: whether the topic has several publishers. Then the permit of one does not
                undo the withdrawal of another: permits count once none was withheld for a lease.
        """
        if self.is_silent(now):
            self._steady_since = now
        if not permitted:
            self._withheld_at = now
        self._contested = contested and now - self._withheld_at < self._lease
        self._has_received, self._received_at = True, now
        self._permitted = permitted and not self._contested

    def is_open(self, now: float) -> bool:
        """Return whether a command may pass at this moment."""
        return self._permitted and not self.is_silent(now) and self._is_steady

    def reason(self, now: float) -> str:
        """Return why the gate is open or closed."""
        if not self._has_received:
            return f"no permit has come yet on '{self._topic}': is the monitor running?"
        if self.is_silent(now):
            return (
                f"no permit on '{self._topic}' for {self._lease:g} s: the monitor is gone, hangs "
                "or is cut off"
            )
        if self._contested:
            return (
                f"one of several publishers on '{self._topic}' withholds its permit: give each "
                "monitor a topic of its own and name all of them in 'permit_topics'"
            )
        if not self._permitted:
            return f"the monitor withholds its permit on '{self._topic}'"
        if not self._is_steady:
            return (
                f"permits come on '{self._topic}' after a silence, and must do so for "
                f"{self._lease:g} s"
            )
        return f"the monitor permits on '{self._topic}'"

    def is_silent(self, now: float) -> bool:
        """Return whether neither a permit nor a withdrawal arrived within the lease."""
        return not self._has_received or now - self._received_at >= self._lease

    @property
    def _is_steady(self) -> bool:
        return self._received_at - self._steady_since >= self._lease


class SpeedScaleLease:
    """The lease of a speed scale: the share of the commanded speed at which the robot may move.

    It fails closed: the scale is 0 if none arrived within the lease, and if the last one is NaN,
    outside [0, 1] or below `MIN_SPEED_SCALE`.
    """

    def __init__(self, lease: float, topic: str) -> None:
        """Create a lease at standstill.

        Args:
            lease: seconds for which a speed scale is valid.
            topic: the speed scale's topic, for the reasons.
        """
        self._lease = lease
        self._topic = topic
        self._scale: float | None = None
        self._received_at = 0.0

    def update(self, scale: float, now: float) -> None:
        """Receive a speed scale."""
        self._scale, self._received_at = scale, now

    def scale(self, now: float) -> float:
        """Return the speed scale, in [0, 1]; 0 means standstill."""
        return 0.0 if self.fault(now) or self._scale is None else self._scale

    def fault(self, now: float) -> str:
        """Return why the scale is 0; empty if it is not."""
        if self._scale is None:
            return f"no speed scale has come yet on '{self._topic}'"
        if now - self._received_at >= self._lease:
            return f"no speed scale on '{self._topic}' for {self._lease:g} s"
        if not 0.0 <= self._scale <= 1.0:  # NaN is not in between either
            return f"the speed scale on '{self._topic}' is {self._scale:g}, expected 0 to 1"
        if self._scale < MIN_SPEED_SCALE:
            return f"the speed scale on '{self._topic}' is {self._scale:g}: stand still"
        return ""
