# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether joint states can be relied on: every joint has a recent, finite position of one source.

Messages may state some of the joints each. A joint that was stated once must go on to be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from failure_monitor.messages.joint_sources import MAX_JOINTS, JointSources, Stamp

MAX_NAMED = 5
"""Number of joints that a reason names."""


class JointSoundness:
    """What is known of each joint. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._sources = JointSources()
        self._measured_at: dict[str, float] = {}
        self._not_finite: set[str] = set()
        self._unnamed_not_finite: list[str] = []

    def update(
        self,
        names: Sequence[str],
        positions: Sequence[float],
        number: int | None,
        stamp: Stamp,
        now: float,
    ) -> bool:
        """Receive a message.

        Args:
            names: of its joints.
            positions: theirs, as far as it states them.
            number: its number among those of its publisher; None if it is unknown.
            stamp: its stamp.
            now: when it was received.

        Returns:
            Whether it states a finite position of each of its joints.
        """
        stated = names[: len(positions)]
        self._sources.update(stated, number, stamp, now)
        # A sum is not finite if a part is not; to check each would take long at 500 Hz.
        is_finite = math.isfinite(sum(positions))
        broken = [] if is_finite else _not_finite(stated, positions)
        self._unnamed_not_finite = [] if is_finite else _unnamed_not_finite(names, positions)
        self._measured_at.update(dict.fromkeys(stated, now))
        if len(self._measured_at) > MAX_JOINTS:
            self._measured_at = dict.fromkeys(stated[:MAX_JOINTS], now)
        self._not_finite.difference_update(stated)
        self._not_finite.update(broken)
        return bool(stated) and len(stated) == len(names) and is_finite

    def contradiction(self, topic: str, now: float) -> str:
        """Return that several publishers state a joint, so that its values are of none."""
        several = self._sources.contradicted(now)
        if not several:
            return ""
        return (
            f"several publishers on '{topic}' state the position of {_listed(several)}: stop all "
            "but one"
        )

    def problem(self, topic: str, now: float, limit: float) -> str:
        """Return what is wrong with the joint states; empty if nothing is.

        Args:
            topic: their topic.
            now: the time.
            limit: seconds after which a position is too old.
        """
        if contradiction := self.contradiction(topic, now):
            return contradiction
        if not_finite := [*sorted(self._not_finite), *self._unnamed_not_finite]:
            return (
                f"'{topic}': the position of {_listed(not_finite)} is NaN or infinite: check the "
                "robot's driver"
            )
        if frozen := self._sources.frozen(now, limit):
            return (
                f"'{topic}': the position of {_listed(frozen)} comes with the same stamp for more "
                f"than {limit:g} s: the robot's driver is frozen"
            )
        if not self._measured_at:
            return f"the messages on '{topic}' state no position of any joint: check its publisher"
        late = [name for name, at in self._measured_at.items() if now - at > limit]
        if late:
            return (
                f"no message on '{topic}' has stated the position of {_listed(late)} for more "
                f"than {limit:g} s: check the robot's driver; if the robot has no such joint any "
                "more, deactivate and activate the monitor"
            )
        return ""


def _not_finite(names: Iterable[str], positions: Iterable[float]) -> list[str]:
    return [
        name
        for name, position in zip(names, positions, strict=False)
        if not math.isfinite(position)
    ]


def _unnamed_not_finite(names: Sequence[str], positions: Sequence[float]) -> list[str]:
    return [
        f"joint number {index}"
        for index, position in enumerate(positions)
        if index >= len(names) and not math.isfinite(position)
    ]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
