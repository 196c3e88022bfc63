# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of several cameras, and joint states, made at about the same time: an observation.

The first camera is the reference (the joint states are, where there is no camera): an observation
is made of each of its messages and has its stamp. Every other stream adds the message whose stamp
is nearest, if that is within a tolerance. An observation is complete as soon as every stream has
one, without waiting for one that may be nearer still; so a bag whose messages are taken in the
order in which they were received gives the observations that the robot's monitor had.

The newest observation wins: none is given out after a later one. What becomes of every message of
the reference is counted. Stamps are whole nanoseconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.joint_vector import JOINTS

FRAMES_KEPT = 16
"""Messages of a camera that may wait for others."""

JOINT_STATES_KEPT = 1024
"""Joint states that may wait: two seconds at 500 Hz, as images come later than they were made."""

CLOCK_JUMP = 1_000_000_000
"""A message that is older by more than the newest of its stream: the clock was set back."""


class ObservationMatchingError(FailureMonitorError):
    """Streams that cannot be matched as was asked."""


@dataclass(frozen=True, eq=False)
class MatchedMessages:
    """The messages of one observation.

    Attributes:
        stamp: of the reference's message.
        messages: of every stream, by its name.
        spread: the largest distance of another message's stamp from that one, in nanoseconds.
    """

    stamp: int
    messages: Mapping[str, Any]
    spread: int


@dataclass
class StreamCounts:
    """What came of one stream.

    Attributes:
        received: messages in all.
        unstamped: those without a stamp, which are of no use.
        late: those that were older than what had been given out already.
        missing: how often the reference had a message and this stream none near enough.
        distance: how far off the nearest one was then, in nanoseconds, the last time; None if
            there was none at all.
    """

    received: int = 0
    unstamped: int = 0
    late: int = 0
    missing: int = 0
    distance: int | None = None


@dataclass(frozen=True, eq=False)
class _Waiting:
    stamp: int
    message: Any


class ObservationMatcher:
    """Takes the messages of all streams as they come, gives out observations."""

    def __init__(self, cameras: Sequence[str], *, joints: bool, tolerance: float) -> None:
        """Name the streams.

        Args:
            cameras: the cameras, the reference first.
            joints: whether there are joint states, a stream of the name `joints`.
            tolerance: how far stamps of one observation may lie apart, in seconds.

        Raises:
            ObservationMatchingError: there is no stream, or the tolerance is no duration.
        """
        self.streams = (*cameras, *((JOINTS,) if joints else ()))
        """The names of the streams, the reference first."""
        if not self.streams:
            raise ObservationMatchingError("an observation needs a camera or joints: name one")
        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise ObservationMatchingError(
                f"stamps cannot be matched within {tolerance} s: give a tolerance in seconds, 0 "
                "or more"
            )
        self.counts: Mapping[str, StreamCounts] = {name: StreamCounts() for name in self.streams}
        """What came of every stream, by its name."""
        self.observations = 0
        """How many observations were given out."""
        self.superseded = 0
        """How many were complete, but no sooner than a newer one."""
        self.clock_jumps = 0
        """How often the stamps of a stream went back by more than `CLOCK_JUMP`."""
        self._reference, *self._others = self.streams
        self._tolerance = round(tolerance * 1e9)
        self.clear()

    def clear(self) -> None:
        """Forget what waits; stamps may begin anew. Counts go on."""
        self._waiting: dict[str, list[_Waiting]] = {name: [] for name in self.streams}
        self._newest: dict[str, int] = {}
        self._given: int | None = None

    def add(self, stream: str, stamp: int, message: Any) -> MatchedMessages | None:
        """Take a message of a stream; an observation if one is complete now."""
        counts = self.counts[stream]
        counts.received += 1
        if stamp <= 0:
            counts.unstamped += 1
            return None
        if stamp < self._newest.get(stream, stamp) - CLOCK_JUMP:
            self.clear()
            self.clock_jumps += 1
        self._newest[stream] = max(stamp, self._newest.get(stream, stamp))
        if self._is_late(stream, stamp):
            counts.late += 1
            return None
        waiting = self._waiting[stream]
        insort(waiting, _Waiting(stamp, message), key=_stamp)
        if len(waiting) > (JOINT_STATES_KEPT if stream == JOINTS else FRAMES_KEPT):
            oldest = waiting.pop(0)
            if stream == self._reference:
                self._give_up(oldest)
        return self._newest_complete(stamp)

    def problems(self) -> list[str]:
        """What was lost so far and what to do about it, a sentence for each kind."""
        texts: list[str] = []
        for name, counts in self.counts.items():
            if counts.unstamped:
                texts.append(
                    f"{counts.unstamped} of {counts.received} messages of '{name}' have a stamp "
                    "of 0: have the driver stamp them"
                )
            if counts.missing:
                texts.append(self._why_missing(name, counts))
            if counts.late:
                texts.append(
                    f"{counts.late} of {counts.received} messages of '{name}' came too late to be "
                    "matched: it is slower than the other streams, or out of order"
                )
        if self.superseded:
            texts.append(
                f"{self.superseded} observations were complete no sooner than a newer one: a "
                "stream is slow"
            )
        if self.clock_jumps:
            texts.append(f"stamps went back by more than 1 s {self.clock_jumps} times")
        return texts

    def _why_missing(self, name: str, counts: StreamCounts) -> str:
        wanting = (
            f"{counts.missing} of {self.counts[self._reference].received} messages of "
            f"'{self._reference}' had none of '{name}' within {1e-9 * self._tolerance:g} s"
        )
        if counts.received == counts.unstamped:
            return f"{wanting}: nothing usable has come of it; check its topic"
        if counts.distance is None or counts.distance > CLOCK_JUMP:
            return f"{wanting}, nor within 1 s: it has stopped, or is stamped by another clock"
        return (
            f"{wanting}, last the nearest was {1e-9 * counts.distance:.3g} s off: synchronise "
            "them, or raise the tolerance"
        )

    def _is_late(self, stream: str, stamp: int) -> bool:
        if self._given is None:
            return False
        if stream == self._reference:
            return stamp <= self._given
        return stamp < self._given - self._tolerance

    def _newest_complete(self, stamp: int) -> MatchedMessages | None:
        """The newest observation that a message of this stamp completes."""
        references = self._waiting[self._reference]
        first = bisect_left(references, stamp - self._tolerance, key=_stamp)
        end = bisect_right(references, stamp + self._tolerance, key=_stamp)
        for index in reversed(range(first, end)):
            reference = references[index]
            nearest = {name: self._nearest(name, reference.stamp) for name in self._others}
            if all(self._fits(found, reference.stamp) for found in nearest.values()):
                return self._give(index, nearest)
        return None

    def _give(self, index: int, nearest: Mapping[str, _Waiting | None]) -> MatchedMessages:
        references = self._waiting[self._reference]
        reference = references[index]
        for older in references[:index]:
            self._give_up(older)
        del references[: index + 1]
        self.observations += 1
        self._given = reference.stamp
        for name in self._others:
            # Nothing that comes from now on can be matched with them.
            others = self._waiting[name]
            del others[: bisect_left(others, self._given - self._tolerance, key=_stamp)]
        found = {name: waiting for name, waiting in nearest.items() if waiting is not None}
        return MatchedMessages(
            stamp=reference.stamp,
            messages={
                self._reference: reference.message,
                **{name: waiting.message for name, waiting in found.items()},
            },
            spread=max((abs(w.stamp - reference.stamp) for w in found.values()), default=0),
        )

    def _give_up(self, reference: _Waiting) -> None:
        missing = False
        for name in self._others:
            nearest = self._nearest(name, reference.stamp)
            if not self._fits(nearest, reference.stamp):
                missing = True
                self.counts[name].missing += 1
                self.counts[name].distance = (
                    None if nearest is None else abs(nearest.stamp - reference.stamp)
                )
        self.superseded += not missing

    def _nearest(self, stream: str, stamp: int) -> _Waiting | None:
        waiting = self._waiting[stream]
        at = bisect_left(waiting, stamp, key=_stamp)
        return min(
            waiting[max(at - 1, 0) : at + 1], key=lambda w: abs(w.stamp - stamp), default=None
        )

    def _fits(self, found: _Waiting | None, stamp: int) -> bool:
        return found is not None and abs(found.stamp - stamp) <= self._tolerance


def _stamp(waiting: _Waiting) -> int:
    return waiting.stamp
