# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to topics of any type, made as they appear; messages come as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from failure_monitor.errors import UsageError
from failure_monitor.ros.common.topic_name import full_topic_name
from failure_monitor.ros.recording.message_definitions import message_class

DEPTH = 100
"""Messages of a topic that wait while the node is busy."""

Hear = Callable[[str, str, bytes], None]
"""Takes a topic, its type and a serialised message."""


@dataclass(frozen=True)
class Offer:
    """What the publishers of a topic offer, all of them.

    Attributes:
        message_type: the type that is subscribed to.
        is_reliable: whether every one is reliable.
        is_latched: whether every one gives its last messages to a late joiner.
    """

    message_type: str
    is_reliable: bool
    is_latched: bool

    @property
    def qos(self) -> QoSProfile:
        """The strictest quality of service that they offer."""
        return QoSProfile(
            depth=DEPTH,
            reliability=(
                ReliabilityPolicy.RELIABLE if self.is_reliable else ReliabilityPolicy.BEST_EFFORT
            ),
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if self.is_latched else DurabilityPolicy.VOLATILE
            ),
        )


@dataclass
class _Listening:
    offer: Offer
    subscription: Subscription


class RawTopics:
    """Follows the graph: what appears, what offers another quality of service, another type."""

    def __init__(
        self,
        node: Node,
        topics: Iterable[str],
        hear: Hear,
        *,
        period: float,
        on_latched: Callable[[str, int], None] = lambda topic, publishers: None,
        on_problem: Callable[[str, str], None],
    ) -> None:
        """Look for topics that somebody publishes, now and from time to time.

        Args:
            node: subscribes.
            topics: names, or patterns with `*`; relative ones are of the node's namespace.
            hear: takes what comes.
            period: seconds between two looks.
            on_latched: told of a topic whose last messages are kept for late joiners, and of how
                many publishers it has, at every look.
            on_problem: told of a topic, and why it cannot be listened to, or not to all of it.

        Raises:
            UsageError: one of the topics is none.
        """
        wanted = [_resolve(node, topic) for topic in topics if topic]
        self.names = tuple(dict.fromkeys(topic for topic in wanted if "*" not in topic))
        """The full names of topics that were named without a pattern."""
        self._patterns = tuple(topic for topic in wanted if "*" in topic)
        self._node = node
        self._hear = hear
        self._on_latched = on_latched
        self._on_problem = on_problem
        self._listening: dict[str, _Listening] = {}
        # Steady: a simulated clock that stands still must not keep topics from being found.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(period, self.look, clock=steady)

    @property
    def heard(self) -> frozenset[str]:
        """The topics that are subscribed to."""
        return frozenset(self._listening)

    @property
    def absent(self) -> tuple[str, ...]:
        """The named topics that nobody has published yet."""
        return tuple(topic for topic in self.names if topic not in self._listening)

    def look(self) -> None:
        """Subscribe to what is there now."""
        for topic in self._there():
            publishers = self._node.get_publishers_info_by_topic(topic)
            # A topic with subscribers alone offers no quality of service to go by.
            if publishers:
                self._follow(topic, publishers)

    def _there(self) -> list[str]:
        if not self._patterns:
            return list(self.names)
        known = (name for name, _ in self._node.get_topic_names_and_types())
        matching = {name for name in known if any(fnmatchcase(name, one) for one in self._patterns)}
        return sorted(matching.union(self.names))

    def _follow(self, topic: str, publishers: Sequence[Any]) -> None:
        before = self._listening.get(topic)
        offer = self._offer(topic, publishers, before.offer.message_type if before else "")
        if offer.is_latched:
            self._on_latched(topic, len(publishers))
        if before is not None and before.offer == offer:
            return
        if before is not None:
            self._node.destroy_subscription(before.subscription)
            del self._listening[topic]
            if before.offer.message_type != offer.message_type:
                self._on_problem(
                    topic,
                    f"'{topic}' was a {before.offer.message_type} and is now a "
                    f"{offer.message_type}: give one of them another name",
                )
        self._subscribe(topic, offer)

    def _offer(self, topic: str, publishers: Sequence[Any], before: str) -> Offer:
        types = sorted({info.topic_type for info in publishers})
        chosen = before if before in types else types[0]
        if len(types) > 1:
            self._on_problem(
                topic,
                f"'{topic}' is published as {' and as '.join(types)} at once, of which only "
                f"{chosen} is heard: give one of them another name",
            )
        offers = [info.qos_profile for info in publishers if info.topic_type == chosen]
        return Offer(
            message_type=chosen,
            is_reliable=all(one.reliability == ReliabilityPolicy.RELIABLE for one in offers),
            is_latched=all(one.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in offers),
        )

    def _subscribe(self, topic: str, offer: Offer) -> None:
        def hear(message: bytes) -> None:
            self._hear(topic, offer.message_type, message)

        try:
            subscription = self._node.create_subscription(
                message_class(offer.message_type), topic, hear, offer.qos, raw=True
            )
        except UsageError as error:
            self._on_problem(topic, f"'{topic}': {error}")
            return
        self._listening[topic] = _Listening(offer, subscription)
        self._node.get_logger().info(f"listening to {topic} ({offer.message_type})")


def _resolve(node: Node, topic: str) -> str:
    if "*" not in topic:
        return full_topic_name(node, "topics", topic)
    return topic if topic.startswith("/") else f"{node.get_namespace().rstrip('/')}/{topic}"
