# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The permit as the gate sees it, and the speed scale that restricts it; both run out.

Pure: times are seconds of a monotonic clock, handed in.
"""

from __future__ import annotations

MIN_SPEED_SCALE = 0.01
"""Slower than this is standing still."""


class PermitLease:
    """Open only while the last permit said so and is younger than the lease.

    Closed before the first permit. After a silence it opens only when permits, or their
    withdrawals, have come for a whole lease again: what a stopped process or a stalled network
    hands over late, all at once, opens nothing.
    """

    def __init__(self, lease: float, topic: str) -> None:
        """A closed gate.

        Args:
            lease: for how many seconds one permit is good.
            topic: what the permit comes on, for the reasons.
        """
        self._lease = lease
        self._topic = topic
        self._heard = False
        self._permitted = False
        self._contested = False
        self._heard_at = 0.0
        self._steady_since = 0.0
        self._withheld_at = float("-inf")

    def update(self, permitted: bool, now: float, *, contested: bool = False) -> None:
        """Take a permit, or its withdrawal.

        Args:
            permitted: what it says.
            now: when it came.
            contested: whether the topic has several publishers. The permit of one then does not
                undo the withdrawal of another: it counts once none has been withheld for a lease.
        """
        if self._is_silent(now):
            self._steady_since = now
        if not permitted:
            self._withheld_at = now
        self._contested = contested and now - self._withheld_at < self._lease
        self._heard, self._heard_at = True, now
        self._permitted = permitted and not self._contested

    def is_open(self, now: float) -> bool:
        """Whether a command may pass at this moment."""
        return self._permitted and not self._is_silent(now) and self._is_steady

    def reason(self, now: float) -> str:
        """Why the gate is open or closed."""
        if not self._heard:
            return f"no permit has come yet on '{self._topic}': is the monitor running?"
        if self._is_silent(now):
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
        """Whether no permit and no withdrawal has come within the lease."""
        return self._is_silent(now)

    def _is_silent(self, now: float) -> bool:
        return not self._heard or now - self._heard_at >= self._lease

    @property
    def _is_steady(self) -> bool:
        return self._heard_at - self._steady_since >= self._lease


class SpeedScaleLease:
    """How fast the robot may move, as a part of what is commanded.

    It fails closed: a speed scale that has not come, is older than the lease, is NaN or lies
    outside [0, 1] is 0, and so is one below `MIN_SPEED_SCALE`.
    """

    def __init__(self, lease: float, topic: str) -> None:
        """Standing still.

        Args:
            lease: for how many seconds one speed scale is good.
            topic: what it comes on, for the reasons.
        """
        self._lease = lease
        self._topic = topic
        self._scale: float | None = None
        self._heard_at = 0.0

    def update(self, scale: float, now: float) -> None:
        """Take a speed scale."""
        self._scale, self._heard_at = scale, now

    def scale(self, now: float) -> float:
        """In [0, 1]; 0 is standing still."""
        return 0.0 if self.fault(now) or self._scale is None else self._scale

    def fault(self, now: float) -> str:
        """Why it is 0; empty if it is not."""
        if self._scale is None:
            return f"no speed scale has come yet on '{self._topic}'"
        if now - self._heard_at >= self._lease:
            return f"no speed scale on '{self._topic}' for {self._lease:g} s"
        if not 0.0 <= self._scale <= 1.0:  # NaN is not in between either
            return f"the speed scale on '{self._topic}' is {self._scale:g}, not from 0 to 1"
        if self._scale < MIN_SPEED_SCALE:
            return f"the speed scale on '{self._topic}' is {self._scale:g}: stand still"
        return ""
