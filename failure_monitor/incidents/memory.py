# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Remembers the messages of the last seconds, within a budget of bytes.

The times are arguments; there is no clock. Messages of all topics are kept serialised in one
queue, oldest first, so that a flood on one topic shortens the remembered time but never exceeds
the budget.

The last messages of a latched topic, whose publishers publish once, are kept for longer. Without
them a bag would lack static transforms, or the marker of a running rollout.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

OVERHEAD = 200
"""Approximate bytes of memory that a message takes beside its data."""


class RecordedMessage(NamedTuple):
    """A serialised message.

    Attributes:
        topic: The full name of its topic.
        message_type: Its type, such as `std_msgs/msg/Bool`.
        received: The time of reception, in seconds of a monotonic clock.
        nanoseconds: The time of reception, by the clock of the bag.
        data: The serialised message.
    """

    topic: str
    message_type: str
    received: float
    nanoseconds: int
    data: bytes

    @property
    def cost(self) -> int:
        """The bytes of memory that it takes."""
        return len(self.data) + OVERHEAD


class IncidentMemory:
    """Keeps the messages of a number of seconds, up to a number of bytes."""

    def __init__(self, seconds: float, budget: int) -> None:
        """Start empty.

        Args:
            seconds: The seconds for which a message is kept.
            budget: The maximum of bytes of all messages together, except latched ones.
        """
        self.held_bytes = 0
        """The bytes of memory of all kept messages, latched ones included."""
        self.too_large = 0
        """The number of messages that alone exceed the budget and were not kept."""
        self.is_short = False
        """True if the budget was too small for the seconds when the last message was added."""
        self.is_whole = False
        """True if all messages since the last `forget` are kept."""
        self._seconds = seconds
        self._budget = budget
        self._messages: deque[RecordedMessage] = deque()
        self._latched_bytes = 0
        self._latched: dict[str, OrderedDict[bytes, RecordedMessage]] = {}
        self._publishers: dict[str, int] = {}

    def latch(self, topic: str, publishers: int) -> None:
        """Keep the last message of each publisher of a topic beyond the seconds."""
        self._publishers[topic] = max(publishers, self._publishers.get(topic, 1))

    def add(self, message: RecordedMessage) -> None:
        """Add a message, which must be the newest."""
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
        """Remove messages that are too old."""
        while self._messages and now - self._messages[0].received > self._seconds:
            self._evict()

    def forget(self) -> None:
        """Remove all messages except latched ones, as another rollout starts."""
        while self._messages:
            self._evict()
        self.is_whole = True

    def held_seconds(self, now: float) -> float:
        """Return the age of the oldest message in seconds."""
        return now - self._messages[0].received if self._messages else 0.0

    def snapshot(self) -> list[RecordedMessage]:
        """Return all messages, oldest first; latched ones precede the others."""
        if not self._messages:
            return self._latched_messages()
        return [*self.latched_before(self._messages[0].nanoseconds), *self._messages]

    def latched_before(self, nanoseconds: int) -> list[RecordedMessage]:
        """Return the latched messages that were evicted, as if received just before a time.

        They stay in their order: an outcome that was stated before a rollout started is not the
        outcome of that rollout.
        """
        latched = self._latched_messages()
        return [
            message._replace(nanoseconds=nanoseconds - place)
            for place, message in zip(range(len(latched), 0, -1), latched, strict=True)
        ]

    def _latched_messages(self) -> list[RecordedMessage]:
        kept = (message for messages in self._latched.values() for message in messages.values())
        return sorted(kept, key=lambda message: message.received)

    def _evict(self) -> None:
        message = self._messages.popleft()
        self.is_whole = False
        self.held_bytes -= message.cost
        maximum = self._publishers.get(message.topic)
        if maximum is None:
            return
        kept = self._latched.setdefault(message.topic, OrderedDict())
        # A message that one publisher repeats must not displace that of another.
        self._account(-kept.pop(message.data).cost if message.data in kept else 0)
        kept[message.data] = message
        self._account(message.cost)
        while len(kept) > maximum:
            _, oldest = kept.popitem(last=False)
            self._account(-oldest.cost)

    def _account(self, cost: int) -> None:
        self._latched_bytes += cost
        self.held_bytes += cost
