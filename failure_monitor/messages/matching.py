# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Matching of camera images and joint states by their stamps: an observation.

The first camera is the reference; without a camera, the joint states are. An observation is made
for each message of the reference and has its stamp. Every other stream adds the message with the
nearest stamp, if that is within a tolerance. An observation is complete as soon as every stream
has such a message; a message that may be nearer still is not awaited. So the messages of a bag, in
the order in which they were received, give the observations that the robot's monitor had.

For a policy that looks at several observations at once, each comes with those before it.

The newest observation wins: none is returned after a later one. The fate of every message of the
reference is counted. Stamps are in whole nanoseconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.messages.observation_history import History, ObservationHistory

FRAMES_KEPT = 16
"""Number of a camera's messages that are kept until they match others."""

JOINT_STATES_KEPT = 1024
"""Number of joint states that are kept: two seconds at 500 Hz, as images arrive with a delay."""

CLOCK_JUMP = 1_000_000_000
"""Nanoseconds before its stream's newest message, beyond which a message means that the clock was
set back."""


class ObservationMatchingError(FailureMonitorError):
    """A matching that is not possible: no stream, or no valid tolerance."""


@dataclass(frozen=True, eq=False)
class MatchedMessages:
    """The messages of one observation.

    Attributes:
        stamp: the stamp of the reference's message.
        messages: the message of every stream, by the stream's name.
        earlier: the messages of the observations before it that the policy looks at, too, the
            oldest first.
    """

    stamp: int
    messages: Mapping[str, Any]
    earlier: tuple[Mapping[str, Any], ...] = ()

    @property
    def all_messages(self) -> tuple[Mapping[str, Any], ...]:
        """The messages of all its observations, the newest last."""
        return (*self.earlier, self.messages)


@dataclass
class StreamCounts:
    """The counts of one stream.

    Attributes:
        received: the number of messages.
        unstamped: the number of messages without a stamp, which are ignored.
        late: the number of messages that arrived after an observation that they were too old for.
        missing: the number of messages of the reference for which this stream had none near
            enough.
        distance: the last time one was missing, the distance of the nearest one in nanoseconds;
            None if there was no message at all.
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
    """A matcher that receives the messages of all streams and returns observations."""

    def __init__(
        self,
        cameras: Sequence[str],
        *,
        joints: bool,
        tolerance: float,
        history: History | None = None,
    ) -> None:
        """Create the matcher.

        Args:
            cameras: the names of the cameras, the reference first.
            joints: whether there are joint states, as a stream named `joints`.
            tolerance: seconds by which the stamps of an observation may differ.
            history: the observations that belong to each beside it; None if none do.

        Raises:
            ObservationMatchingError: there is no stream, or the tolerance is negative or not
                finite.
        """
        self.streams = (*cameras, *((JOINTS,) if joints else ()))
        """The names of the streams, the reference first."""
        if not self.streams:
            raise ObservationMatchingError(
                "an observation needs a camera or joints, neither is named: name one"
            )
        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise ObservationMatchingError(
                f"stamps cannot be matched within {tolerance} s: give a tolerance in seconds, 0 "
                "or more"
            )
        self.counts: Mapping[str, StreamCounts] = {name: StreamCounts() for name in self.streams}
        """The counts of every stream, by its name."""
        self.superseded = 0
        """Number of observations that were complete no sooner than a newer one."""
        self.clock_jumps = 0
        """Number of times that a stream's stamps went back by more than `CLOCK_JUMP`."""
        self._reference, *self._others = self.streams
        self._tolerance = round(tolerance * 1e9)
        self._history: ObservationHistory[Mapping[str, Any]] | None = (
            None if history is None else ObservationHistory(history)
        )
        self.clear()

    def clear(self) -> None:
        """Drop the messages that wait, so that stamps may start again. Counts continue."""
        if self._history is not None:
            self._history.clear()
        self._waiting: dict[str, list[_Waiting]] = {name: [] for name in self.streams}
        self._newest: dict[str, int] = {}
        self._last_returned: int | None = None

    def add(self, stream: str, stamp: int, message: Any) -> MatchedMessages | None:
        """Add a message of a stream and return the observation that it completes, if any.

        Args:
            stream: the stream's name.
            stamp: the message's stamp.
            message: the message.
        """
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
                self._count_missing(oldest)
        return self._newest_complete(stamp)

    def problems(self) -> list[str]:
        """Return a sentence for each kind of loss so far, with what to do about it."""
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
                    f"{counts.late} of {counts.received} messages of '{name}' arrived too late to "
                    "be matched: the stream is slower than the others, or out of order"
                )
        if self.superseded:
            texts.append(
                f"{self.superseded} observations were complete no sooner than a newer one: a "
                "stream is slow"
            )
        if self.clock_jumps:
            texts.append(f"stamps went back by more than 1 s {self.clock_jumps} times")
        return texts

    def why_none(self) -> list[str]:
        """Return why there was no observation, of the messages that still wait, too."""
        for reference in self._waiting[self._reference]:
            self._count_missing(reference)
        self._waiting[self._reference].clear()
        return self.problems()

    def _why_missing(self, name: str, counts: StreamCounts) -> str:
        loss = (
            f"{counts.missing} of {self.counts[self._reference].received} messages of "
            f"'{self._reference}' had none of '{name}' within {1e-9 * self._tolerance:g} s"
        )
        if counts.received == counts.unstamped:
            return f"{loss}: no usable message of it has arrived; check its topic"
        if counts.distance is None or counts.distance > CLOCK_JUMP:
            return f"{loss}, nor within 1 s: it has stopped, or is stamped by another clock"
        return (
            f"{loss}; last the nearest was {1e-9 * counts.distance:.3g} s off: synchronise them, "
            "or raise the tolerance"
        )

    def _is_late(self, stream: str, stamp: int) -> bool:
        if self._last_returned is None:
            return False
        if stream == self._reference:
            return stamp <= self._last_returned
        return stamp < self._last_returned - self._tolerance

    def _newest_complete(self, stamp: int) -> MatchedMessages | None:
        """Return the newest observation that a message of this stamp completes."""
        references = self._waiting[self._reference]
        first = bisect_left(references, stamp - self._tolerance, key=_stamp)
        end = bisect_right(references, stamp + self._tolerance, key=_stamp)
        for index in reversed(range(first, end)):
            reference = references[index]
            nearest = {name: self._nearest(name, reference.stamp) for name in self._others}
            if all(self._fits(found, reference.stamp) for found in nearest.values()):
                return self._complete(index, nearest)
        return None

    def _complete(self, index: int, nearest: Mapping[str, _Waiting | None]) -> MatchedMessages:
        references = self._waiting[self._reference]
        reference = references[index]
        for older in references[:index]:
            self._count_missing(older)
        del references[: index + 1]
        self._last_returned = reference.stamp
        for name in self._others:
            # No later message of the reference can be matched with them.
            others = self._waiting[name]
            del others[: bisect_left(others, reference.stamp - self._tolerance, key=_stamp)]
        found = {name: waiting for name, waiting in nearest.items() if waiting is not None}
        messages = {
            self._reference: reference.message,
            **{name: waiting.message for name, waiting in found.items()},
        }
        earlier = () if self._history is None else self._history.add(reference.stamp, messages)
        return MatchedMessages(reference.stamp, messages, earlier)

    def _count_missing(self, reference: _Waiting) -> None:
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
