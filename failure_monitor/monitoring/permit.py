# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The leases of the permit and of the speed scale: how long the gate relies on what it received.

They read no clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque

from failure_monitor.monitoring.several_publishers import CONTESTED_MEMORY

MIN_SPEED_SCALE = 0.01
"""Speed scale below which the robot is to stand still."""


class PermitLease:
    """The lease of a permit: open while the last permit was granted less than a lease ago.

    It is closed before the first permit. After a silence it opens only when permits, or their
    withdrawals, have arrived for a whole lease again. So what a stopped process or a stalled
    network delivers late and all at once opens nothing.

    A permit is as old as its publisher's stamp states, where there is one, and at least as old as
    its reading.
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
        self._is_contested = False
        self._age = 0.0
        self._received_at = 0.0
        self._granted_at = 0.0
        self._steady_since = 0.0
        self._withheld_at = float("-inf")
        self._standing_since = float("-inf")
        """When the permit was last withdrawn by one who has not granted it again."""
        self._overflowed_at = float("-inf")

    def update(
        self, permitted: bool, now: float, *, age: float = 0.0, contested: bool | None = False
    ) -> None:
        """Receive a permit, or its withdrawal.

        Args:
            permitted: whether commands are permitted.
            now: the time of reception.
            age: seconds since the publication, by the clocks of both machines; below 0 if the
                publisher's is ahead, and 0 where it is unknown.
            contested: whether the topic has several publishers. Then the permit of one does not
                undo the withdrawal of another: permits count once none was withheld for long. None
                if it is unknown, but would be known within a lease: permits count once none was
                withheld for so long.
        """
        self._age = age
        if self.is_silent(now):
            self._steady_since = now
        if not permitted:
            self._withheld_at = self._standing_since = now
        elif contested is False:
            # What its only publisher has undone is no withdrawal once there are several.
            self._standing_since = float("-inf")
        withheld_for = now - self._standing_since
        self._is_contested = bool(contested) and withheld_for < CONTESTED_MEMORY
        is_uncertain = contested is None and withheld_for < self._lease
        self._has_received, self._received_at = True, now
        self._granted_at = now - max(age, 0.0)
        self._permitted = permitted and not self._is_contested and not is_uncertain

    def overflow(self, now: float) -> None:
        """Record that messages were lost: more came than can be read, or one cannot be read."""
        self._overflowed_at = self._steady_since = now

    def is_open(self, now: float) -> bool:
        """Return whether a command may pass at this moment."""
        return self._permitted and not self.is_silent(now) and self._is_steady and self._is_timely

    def reason(self, now: float) -> str:
        """Return why the gate is open or closed."""
        if not self._has_received:
            return f"no permit has come yet on '{self._topic}': is the monitor running?"
        if not self._is_timely and now - self._received_at < self._lease:
            return self._untimely()
        if self.is_silent(now):
            return (
                f"no permit on '{self._topic}' for {self._lease:g} s: the monitor is gone, hangs "
                "or is cut off"
            )
        if self._is_contested:
            return (
                f"the monitor withholds its permit on '{self._topic}', or one of several "
                "publishers there does: give each monitor a topic of its own and name all of them "
                "in 'permit_topics', or wait until one that died is forgotten"
            )
        if not self._permitted:
            return f"the monitor withholds its permit on '{self._topic}'"
        if not self._is_steady:
            return self._unsteady(now)
        return f"the monitor permits on '{self._topic}'"

    def was_withheld_since(self, time: float) -> bool:
        """Return whether the permit has been withdrawn, by a message that says so."""
        return self._withheld_at >= time

    def is_silent(self, now: float) -> bool:
        """Return whether neither a permit nor a withdrawal was published within the lease."""
        return not self._has_received or now - self._granted_at >= self._lease

    @property
    def _is_steady(self) -> bool:
        return self._received_at - self._steady_since >= self._lease

    @property
    def _is_timely(self) -> bool:
        """Whether the last message was published within a lease of its reading, by both clocks."""
        return abs(self._age) < self._lease

    def _untimely(self) -> str:
        if self._age < 0:
            return (
                f"permits on '{self._topic}' are stamped {-self._age:.3g} s ahead of this "
                "machine's clock: synchronise the clocks of both machines"
            )
        return (
            f"permits on '{self._topic}' are {self._age:.3g} s old when they are read: they are "
            "late, or the clocks of both machines are not synchronised"
        )

    def _unsteady(self, now: float) -> str:
        if now - self._overflowed_at < 2 * self._lease:
            return (
                f"messages on '{self._topic}' are lost: more come than can be read, or one cannot "
                "be read; stop what else publishes there"
            )
        return (
            f"permits come on '{self._topic}' after a silence, and must do so for "
            f"{self._lease:g} s"
        )


class SpeedScaleLease:
    """The lease of a speed scale: the share of the commanded speed at which the robot may move.

    It fails closed: the scale is 0 if none arrived within the lease, and if the last one is NaN,
    outside [0, 1] or below `MIN_SPEED_SCALE`. Of several publishers' the smallest counts.
    """

    def __init__(self, lease: float, topic: str) -> None:
        """Create a lease at standstill.

        Args:
            lease: seconds for which a speed scale is valid.
            topic: the speed scale's topic, for the reasons.
        """
        self._lease = lease
        self._topic = topic
        # From the smallest to the newest, each smaller than those after it.
        self._received: deque[tuple[float, float]] = deque()
        self._valid_until = 0.0

    def update(
        self, scale: float, now: float, *, age: float = 0.0, contested: bool | None = False
    ) -> None:
        """Receive a speed scale.

        Args:
            scale: the speed scale.
            now: the time of reception.
            age: seconds since the publication, by the clocks of both machines.
            contested: whether the topic has several publishers; None if it is unknown, but would
                be known within a lease.
        """
        if contested is False:
            self._received.clear()
        memory = CONTESTED_MEMORY if contested else self._lease
        while self._received and now - self._received[0][0] > memory:
            self._received.popleft()
        # What a later one undercuts is of no further use.
        while self._received and _at_most(self._received[-1][1]) >= _at_most(scale):
            self._received.pop()
        self._received.append((now, scale))
        self._valid_until = now - max(age, 0.0) + self._lease

    def overflow(self, now: float) -> None:
        """Record that messages were lost: more came than can be read, or one cannot be read."""
        self.update(0.0, now, contested=True)

    def scale(self, now: float) -> float:
        """Return the speed scale, in [0, 1]; 0 means standstill."""
        return 0.0 if self.fault(now) else self._received[0][1]

    def fault(self, now: float) -> str:
        """Return why the scale is 0; empty if it is not."""
        if not self._received:
            return f"no speed scale has come yet on '{self._topic}'"
        if now >= self._valid_until:
            return f"no speed scale on '{self._topic}' for {self._lease:g} s"
        scale = self._received[0][1]
        if not 0.0 <= scale <= 1.0:  # NaN is not in between either
            return f"the speed scale on '{self._topic}' is {scale:g}, expected 0 to 1"
        if scale < MIN_SPEED_SCALE:
            return f"the speed scale on '{self._topic}' is {scale:g}: stand still"
        return ""


def _at_most(scale: float) -> float:
    """Return the speed to which a speed scale limits the robot; below 0 if it is invalid."""
    return scale if 0.0 <= scale <= 1.0 else -1.0
