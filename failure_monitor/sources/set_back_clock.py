# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Finds in a recording that a clock was set back: the recorder's, or that of the stamps.

A clock that is set back puts what came later before what came earlier. Beside the robot that is an
alarm; a recording of it is rejected, since sorting would make up another course of the rollout.
Messages that only come or are written out of order are few, or by less than `CLOCK_JUMP`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

CLOCK_JUMP = 250_000_000
"""Nanoseconds by which stamps may go back, as beside the robot."""

SURE_JUMP = 1_000_000_000
"""Nanoseconds by which not even a single stamp may go back."""

MIN_IN_A_ROW = 3
"""Number of messages in a row, on either side, that were not just written in another order."""

MIN_CROWDING = 1.3
"""Factor of the usual number of messages in a time that was lived through twice."""

SHARE_OF_FALLS = 8
"""With a fall in every so many messages, a file was written in no order at all."""
MAX_FALLS = 3
"""Falls that are found in a short file, too."""

Times = NDArray[np.int64]
Numbers: TypeAlias = "array[int]"


def _no_numbers() -> Numbers:
    """Return an empty row of numbers of eight bytes each: a bag may have millions of messages."""
    return array("q")


@dataclass(frozen=True)
class SetBack:
    """A clock that was set back.

    Attributes:
        message: The number of the first message after it.
        seconds: By how much.
    """

    message: int
    seconds: float


@dataclass
class Reception:
    """When the messages of a topic were received.

    Attributes:
        received: The bag time of each, in nanoseconds.
        places: The place of each among the messages as they were written.
    """

    received: Numbers = field(default_factory=_no_numbers)
    places: Numbers = field(default_factory=_no_numbers)

    def add(self, received: int, place: int) -> None:
        """Add a message."""
        self.received.append(received)
        self.places.append(place)

    def set_back(self) -> SetBack | None:
        """Return where bag time was set back, in the order in which messages were written."""
        order = np.argsort(np.array(self.places, np.int64), kind="stable")
        return _set_back(np.array(self.received, np.int64)[order])


@dataclass
class ReceivedStamps:
    """The stamps of a topic's messages, in the order of their reception.

    Attributes:
        received: The bag time of each, in nanoseconds.
        stamps: The stamp of each, in nanoseconds.
    """

    received: Numbers = field(default_factory=_no_numbers)
    stamps: Numbers = field(default_factory=_no_numbers)

    def add(self, received: int, stamp: int) -> None:
        """Add a message."""
        self.received.append(received)
        self.stamps.append(stamp)

    def set_back(self, begin: int, end: int) -> SetBack | None:
        """Return where stamps go back too far, of what was received in a span of bag time."""
        numbers, behind = self._behind(begin, end)
        far = np.flatnonzero(behind > SURE_JUMP)
        if len(far):
            return SetBack(int(numbers[far[0]]), 1e-9 * float(behind[far[0]]))
        found = _set_back(np.array(self.stamps, np.int64)[numbers])
        return found and SetBack(int(numbers[found.message]), found.seconds)

    def out_of_order(self, begin: int, end: int) -> int:
        """Return how many stamps of a span came first when a later one had come already."""
        numbers, behind = self._behind(begin, end)
        _, first = np.unique(np.array(self.stamps, np.int64)[numbers], return_index=True)
        return int(np.count_nonzero(behind[first]))

    def _behind(self, begin: int, end: int) -> tuple[Times, Times]:
        """Return the numbers of a span's messages, and how far each is behind the latest stamp."""
        received = np.array(self.received, np.int64)
        stamps = np.array(self.stamps, np.int64)
        # What has no stamp has no time.
        numbers = np.flatnonzero((received >= begin) & (received <= end) & (stamps > 0))
        times = stamps[numbers]
        return numbers, np.maximum.accumulate(times) - times


def _set_back(times: Times) -> SetBack | None:
    """Return where times go back, other than those of single messages."""
    falls = np.flatnonzero(np.diff(times) < 0) + 1
    if len(falls) > max(MAX_FALLS, len(times) // SHARE_OF_FALLS):
        return None
    bounds = [0, *falls.tolist(), len(times)]
    for begin, fall, end in zip(bounds, bounds[1:], bounds[2:], strict=False):
        before, after = times[begin:fall], times[fall:end]
        jump = int(before[-1] - after[0])
        if jump > CLOCK_JUMP and _is_lived_twice(times, before, after):
            return SetBack(fall, 1e-9 * jump)
    return None


def _is_lived_twice(times: Times, before: Times, after: Times) -> bool:
    """Return whether messages before and after a fall are of two courses of the same time.

    One message that was written late or early leaves a single one on either side, in a time that
    has as many messages as any other.
    """
    first, last = after[0], before[-1]
    if min(np.count_nonzero(before > first), np.count_nonzero(after < last)) >= MIN_IN_A_ROW:
        return True
    period = float(np.median(np.abs(np.diff(times))))
    usual = 1 + float(last - first) / period if period else np.inf
    there = np.count_nonzero((times >= first) & (times <= last))
    return bool(there >= MIN_CROWDING * usual)
