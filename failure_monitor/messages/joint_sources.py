# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Joint states that cannot be trusted: two sources of one joint, and a source that is frozen.

The middleware numbers the messages of each publisher, so of one publisher's messages the numbers
rise. Where those that name a joint do not, they come from two, or from one that was started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MEMORY = 2.5
"""Seconds for which two sources of a joint are remembered, as one of them may publish seldom."""

RESTART = 0.5
"""Seconds for which they are remembered where a single one is counted: it was started again, or
the second is not yet counted."""

MAX_JOINTS = 10_000
"""Largest number of joints that are kept; names that come after them are not looked at."""

Stamp = tuple[int, int]
"""Seconds and nanoseconds, as the header of a message has them."""

NO_STAMP: Stamp = (0, 0)


@dataclass
class _Joint:
    number: int | None = None
    stamp: Stamp = NO_STAMP
    restamped_at: float = 0.0
    received_at: float = 0.0
    contradicted_until: float = float("-inf")


class JointSources:
    """What is known of the sources of each joint. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._joints: dict[str, _Joint] = {}

    def update(
        self,
        names: Sequence[str],
        number: int | None,
        stamp: Stamp,
        now: float,
        *,
        is_single: bool = False,
    ) -> None:
        """Receive a message.

        Args:
            names: the joints whose positions it states.
            number: its number among those of its publisher; None if it is unknown.
            stamp: its stamp; `NO_STAMP` shows nothing.
            now: when it was received.
            is_single: whether a single publisher is counted.
        """
        for name in names:
            if name not in self._joints and len(self._joints) >= MAX_JOINTS:
                continue
            joint = self._joints.setdefault(name, _Joint())
            if number is not None and joint.number is not None and number <= joint.number:
                memory = RESTART if is_single else MEMORY
                joint.contradicted_until = max(joint.contradicted_until, now + memory)
            if stamp == NO_STAMP or stamp != joint.stamp:
                joint.restamped_at = now
            joint.number, joint.stamp, joint.received_at = number, stamp, now

    def contradicted(self, now: float) -> list[str]:
        """Return the joints of which two sources have published recently."""
        return [name for name, joint in self._joints.items() if now < joint.contradicted_until]

    def frozen(self, now: float, limit: float) -> list[str]:
        """Return the joints whose messages come with the same stamp for more than `limit` seconds.

        A joint of which no message comes is not frozen, but silent.
        """
        return [
            name
            for name, joint in self._joints.items()
            if joint.received_at - joint.restamped_at > limit and now - joint.received_at <= limit
        ]
