# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The first command after a human's intervention: it must lie where the human left the robot.

Nothing here reads a clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from failure_monitor.monitoring.stop_debt import CommandError

SAID_PERIOD = 1.0
"""Seconds for which what is said of a command that is too far off stays the same."""


class Handover:
    """Which joints a command has taken over from a human."""

    def __init__(self, tolerance: float) -> None:
        """Await no handover.

        Args:
            tolerance: radians or metres by which a command may lie from where a joint is; 0 for
                any distance.
        """
        self._tolerance = tolerance
        self._is_awaited = False
        self._met: set[str] = set()
        self._said = ""
        self._said_at = float("-inf")

    def begin(self) -> None:
        """Await the first command to each joint: a human intervenes."""
        self._is_awaited = self._tolerance > 0
        self._met.clear()

    @property
    def is_awaited(self) -> bool:
        """Whether commands are to be compared with where the joints are."""
        return self._is_awaited

    def check(
        self,
        commanded: Mapping[str, float],
        measure: Callable[[Sequence[str]], Sequence[float]],
        now: float,
    ) -> None:
        """Reject the first command to a joint if it lies far from where the joint is.

        Args:
            commanded: positions by joint.
            measure: returns the measured positions of joints, or raises `CommandError`.
            now: the time.

        Raises:
            CommandError: names the joint that is farthest off, and both positions.
        """
        names = [name for name in commanded if name not in self._met]
        if not names:
            return
        measured = dict(zip(names, measure(names), strict=True))
        worst = max(names, key=lambda name: abs(commanded[name] - measured[name]))
        if abs(commanded[worst] - measured[worst]) > self._tolerance:
            raise CommandError(self._too_far(worst, commanded[worst], measured[worst], now))

    def meet(self, joints: Iterable[str]) -> None:
        """Note that a command to these joints has passed."""
        self._met.update(joints)

    def _too_far(self, joint: str, commanded: float, measured: float, now: float) -> str:
        """Return the same sentence for a while: a policy that moves on would fill a log."""
        if now - self._said_at >= SAID_PERIOD:
            self._said_at = now
            self._said = (
                f"after the human's intervention it moves '{joint}' to {commanded:.3f}, which is "
                f"at {measured:.3f}: more than handover_tolerance, {self._tolerance:g}, away. Let "
                "the policy decide anew from where the robot is"
            )
        return self._said
