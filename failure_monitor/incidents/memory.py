# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The last seconds of what was on the wire, within a budget of bytes.

Pure: times are handed in. Messages are kept as the bytes that came, oldest first, whatever their
topic, so that a flood on one of them shortens the time that is held and never exceeds the budget.

Of a latched topic, whose publishers speak once and are then silent, the last messages outlive the
window: without them a bag would lack the transforms that never change, or whether a rollout runs.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

OVERHEAD = 200
"""Bytes that a message takes beside its own, about: it is what small messages cost."""


class RecordedMessage(NamedTuple):
    """A message as it came.

    Attributes:
        topic: its full name.
        message_type: such as `std_msgs/msg/Bool`.
        received: when, in seconds of a monotonic clock.
        nanoseconds: when, by the clock of the bag.
        data: the serialised message.
    """

    topic: str
    message_type: str
    received: float
    nanoseconds: int
    data: bytes

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes."""
        return len(self.data) + OVERHEAD


class IncidentMemory:
    """Forgets what is older than a number of seconds, or more than a number of bytes."""

    def __init__(self, seconds: float, budget: int) -> None:
        """Empty.

        Args:
            seconds: how long a message is kept.
            budget: bytes that all of them may take, latched ones aside.
        """
        self.held_bytes = 0
        """What is kept takes this much memory, latched messages included."""
        self.too_large = 0
        """Messages that alone exceed the budget, and were not kept."""
        self.is_short = False
        """Whether the budget was too small for the seconds, when the last message came."""
        self.is_whole = False
        """Whether all that was heard since the last `forget` is kept."""
        self._seconds = seconds
        self._budget = budget
        self._messages: deque[RecordedMessage] = deque()
        self._latched_bytes = 0
        self._latched: dict[str, OrderedDict[bytes, RecordedMessage]] = {}
        self._publishers: dict[str, int] = {}

    def latch(self, topic: str, publishers: int) -> None:
        """The last message of each of a topic's publishers outlives the window."""
        self._publishers[topic] = max(publishers, self._publishers.get(topic, 1))

    def hear(self, message: RecordedMessage) -> None:
        """Keep a message, the newest of all."""
        if message.cost > self._budget:
            self.too_large += 1
            self.is_whole = False
            return
        self._messages.append(message)
        self.held_bytes += message.cost
        self.expire(message.received)
        self.is_short = self.held_bytes - self._latched_bytes > self._budget
        while self.held_bytes - self._latched_bytes > self._budget:
            self._evict()

    def expire(self, now: float) -> None:
        """Forget what has grown too old."""
        while self._messages and now - self._messages[0].received > self._seconds:
            self._evict()

    def forget(self) -> None:
        """Forget all but what is latched: what comes now belongs to another rollout."""
        while self._messages:
            self._evict()
        self.is_whole = True

    def held_seconds(self, now: float) -> float:
        """How far back the memory reaches."""
        return now - self._messages[0].received if self._messages else 0.0

    def snapshot(self) -> list[RecordedMessage]:
        """All that is kept, oldest first; latched messages come as of the window's begin."""
        latched = [message for kept in self._latched.values() for message in kept.values()]
        if not self._messages:
            return latched
        begin = self._messages[0]
        return [
            message._replace(received=begin.received, nanoseconds=begin.nanoseconds)
            for message in latched
        ] + list(self._messages)

    def _evict(self) -> None:
        message = self._messages.popleft()
        self.is_whole = False
        self.held_bytes -= message.cost
        most = self._publishers.get(message.topic)
        if most is None:
            return
        kept = self._latched.setdefault(message.topic, OrderedDict())
        # What a publisher repeats must not displace what another has said.
        self._account(-kept.pop(message.data).cost if message.data in kept else 0)
        kept[message.data] = message
        self._account(message.cost)
        while len(kept) > most:
            _, oldest = kept.popitem(last=False)
            self._account(-oldest.cost)

    def _account(self, cost: int) -> None:
        self._latched_bytes += cost
        self.held_bytes += cost
