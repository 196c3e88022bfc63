# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Completes decisions by values that come on topics of their own, late or early.

Every value has a place in the order of its topic: a stamp, or the time at which it was published.
Every decision states between which places its value lies. The newest value there is the
decision's. Once a later one has come and none lies there, it will not come any more. This module
knows neither ROS nor a clock.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_WAITING_DECISIONS = 64
"""Number of decisions that may wait for their values."""


@dataclass(frozen=True)
class Places:
    """The places on a topic at which a decision's value may lie.

    Attributes:
        after: the last place before them; None if there is none.
        until: the last of them.
    """

    after: int | None
    until: int


@dataclass(frozen=True, eq=False)
class Completed:
    """A decision whose values have all come.

    Attributes:
        number: its number.
        decision: what was known of it before.
        values: its values, by their names.
    """

    number: int
    decision: Any
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Incomplete:
    """A decision of which a value will not come.

    Attributes:
        number: its number.
        missing: the name of the value.
    """

    number: int
    missing: str


@dataclass(frozen=True, eq=False)
class _Waiting:
    number: int
    decision: Any
    places: Mapping[str, Places]


Settled = Sequence[Completed | Incomplete]


class AwaitedValues:
    """Turns decisions and values into complete decisions, in their order. All decisions end."""

    def __init__(self, capacities: Mapping[str, int]) -> None:
        """Start without a decision or a value.

        Args:
            capacities: by the name of each value, how many of it may wait for their decisions.
        """
        self._values: dict[str, deque[tuple[int, Any]]] = {
            name: deque(maxlen=capacity) for name, capacity in capacities.items()
        }
        self._newest: dict[str, int] = {}
        self._waiting: deque[_Waiting] = deque()

    def clear(self) -> Sequence[int]:
        """Forget what waits; return the numbers of the decisions that end thereby."""
        numbers = [waiting.number for waiting in self._waiting]
        self._waiting.clear()
        for name in self._values:
            self._forget(name)
        return numbers

    def add_value(self, name: str, place: int, value: Any) -> Settled:
        """Receive a value; return the decisions that are settled by it, oldest first."""
        settled: list[Completed | Incomplete] = []
        if place < self._newest.get(name, place):
            # Its publisher's clock was set back: the places start again, and what waits for one
            # of before would hold up all that comes until the clock is there again.
            self._newest[name] = sys.maxsize
            settled += self._settle()
            self._forget(name)
        self._values[name].append((place, value))
        self._newest[name] = place
        return [*settled, *self._settle()]

    def add_decision(self, number: int, decision: Any, places: Mapping[str, Places]) -> Settled:
        """Receive a decision; return the decisions that are settled by it, oldest first.

        Args:
            number: its number.
            decision: what is known of it.
            places: where each of its values lies, by their names.
        """
        self._waiting.append(_Waiting(number, decision, places))
        settled = list(self._settle())
        if len(self._waiting) > MAX_WAITING_DECISIONS:
            missing = self.missing()
            settled.append(Incomplete(self._waiting.popleft().number, missing))
            settled.extend(self._settle())
        return settled

    def missing(self) -> str:
        """Return the name of the value for which the oldest decision waits; empty for none."""
        if not self._waiting:
            return ""
        places = self._waiting[0].places
        return next(name for name in places if not self._found(name, places[name]))

    def _settle(self) -> Iterator[Completed | Incomplete]:
        while self._waiting:
            oldest = self._waiting[0]
            found = {name: self._found(name, where) for name, where in oldest.places.items()}
            lost = [
                name
                for name, values in found.items()
                if not values
                and self._newest.get(name, oldest.places[name].until) > oldest.places[name].until
            ]
            if lost:
                yield Incomplete(self._waiting.popleft().number, lost[0])
            elif all(found.values()):
                self._waiting.popleft()
                newest = {name: values[-1] for name, values in found.items()}
                yield Completed(oldest.number, oldest.decision, newest)
            else:
                return

    def _found(self, name: str, where: Places) -> list[Any]:
        """Return the values of a decision, in their order; earlier ones are dropped for good."""
        values = self._values[name]
        while values and where.after is not None and values[0][0] <= where.after:
            values.popleft()
        return [value for place, value in values if place <= where.until]

    def _forget(self, name: str) -> None:
        self._values[name].clear()
        self._newest.pop(name, None)
