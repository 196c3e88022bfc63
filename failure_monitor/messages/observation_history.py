# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The observations before an observation, for policies that look at several at once.

Such a policy takes K observations that lie a control period apart, however seldom it decides. At
its start LeRobot repeats the first one until there are K, and so does this. The robot's cameras
have their own rate: of the observations that were made, those nearest to the wanted times count.
Which these are depends on stamps alone, so they are the same in a bag as on the robot.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from failure_monitor.schema import above

Item = TypeVar("Item")

KEPT_PER_SPACING = 8
"""Observations that are kept in the time from one wanted one to the next: images take memory."""


@dataclass(frozen=True, kw_only=True)
class History:
    """The observations that a policy takes at once: the newest, and some before it.

    Attributes:
        observations: K, their number.
        spacing: the seconds from each to the next.
    """

    observations: Annotated[int, above(1)]
    spacing: Annotated[float, above(0)]


class ObservationHistory(Generic[Item]):
    """Keeps the last observations of a rollout, as many as are needed."""

    def __init__(self, history: History) -> None:
        """Start without an observation.

        Args:
            history: which observations are taken at once.
        """
        earlier = range(history.observations - 1, 0, -1)
        self._ages = [round(back * history.spacing * 1e9) for back in earlier]
        self._apart = round(history.spacing * 1e9) // KEPT_PER_SPACING
        self.clear()

    def clear(self) -> None:
        """Forget all observations: the next one is the first."""
        self._stamps: list[int] = []
        self._items: list[Item] = []

    def add(self, stamp: int, item: Item) -> tuple[Item, ...]:
        """Add an observation, and return the K - 1 that belong before it, the oldest first.

        Args:
            stamp: its stamp in nanoseconds, later than that of the one before.
            item: the observation.
        """
        self._stamps.append(stamp)
        self._items.append(item)
        earlier = tuple(self._items[self._nearest(stamp - age)] for age in self._ages)
        self._forget(stamp)
        return earlier

    def _nearest(self, stamp: int) -> int:
        """Return the place of the observation nearest to a stamp, of two the older one."""
        after = bisect_left(self._stamps, stamp)
        places = range(max(after - 1, 0), min(after + 1, len(self._stamps)))
        return min(places, key=lambda place: abs(self._stamps[place] - stamp))

    def _forget(self, stamp: int) -> None:
        """Drop what no later observation needs, and what is closer together than it must be."""
        needed = max(bisect_left(self._stamps, stamp - self._ages[0]) - 1, 0)
        del self._stamps[:needed], self._items[:needed]
        if len(self._stamps) > 2 and self._stamps[-2] - self._stamps[-3] < self._apart:
            del self._stamps[-2], self._items[-2]
