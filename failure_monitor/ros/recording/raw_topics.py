# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Subscribes to topics of any type when they appear, and receives messages as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rosbags.interfaces import Qos

from failure_monitor.errors import UsageError
from failure_monitor.ros.common.topic_name import full_topic_name
from failure_monitor.ros.recording.message_definitions import message_class
from failure_monitor.ros.recording.offered_qos import offered_qos

DEPTH = 100
"""Messages per topic that are kept while the node is busy."""

MessageCallback = Callable[[str, str, bytes], None]
"""Called with a topic, its type and a serialised message."""


@dataclass(frozen=True)
class Offer:
    """The type and quality of service that all publishers of a topic offer.

    Attributes:
        message_type: The message type.
        is_reliable: True if all are reliable.
        is_latched: True if all send their last messages to late joiners.
    """

    message_type: str
    is_reliable: bool
    is_latched: bool

    @property
    def qos(self) -> QoSProfile:
        """The strictest quality of service that all publishers offer."""
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
class _Subscribed:
    offer: Offer
    subscription: Subscription


class RawTopics:
    """Subscriptions that follow the graph: new topics, other types or qualities of service."""

    def __init__(
        self,
        node: Node,
        topics: Iterable[str],
        on_message: MessageCallback,
        *,
        period: float,
        on_latched: Callable[[str, int], None] = lambda topic, publishers: None,
        on_problem: Callable[[str, str], None],
    ) -> None:
        """Start to discover topics periodically.

        Args:
            node: The node that subscribes.
            topics: Names, or patterns with `*`; relative ones are in the namespace of the node.
            on_message: Called with every message.
            period: The seconds between two discoveries.
            on_latched: Called with a latched topic and its number of publishers, at every
                discovery.
            on_problem: Called with a topic, and why it is not subscribed to completely.

        Raises:
            UsageError: A topic is invalid.
        """
        wanted = [_resolve(node, topic) for topic in topics if topic]
        self.names = tuple(dict.fromkeys(topic for topic in wanted if "*" not in topic))
        """The full names of the topics that are no patterns."""
        self._patterns = tuple(topic for topic in wanted if "*" in topic)
        self._node = node
        self._on_message = on_message
        self._on_latched = on_latched
        self._on_problem = on_problem
        self._subscribed: dict[str, _Subscribed] = {}
        self._offered: dict[tuple[str, str], tuple[Qos, ...]] = {}
        # Steady: a simulated clock that stands still must not keep topics from being found.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(period, self.discover, clock=steady)

    @property
    def subscribed(self) -> frozenset[str]:
        """The topics with a subscription."""
        return frozenset(self._subscribed)

    @property
    def absent(self) -> tuple[str, ...]:
        """The named topics without a publisher so far."""
        return tuple(topic for topic in self.names if topic not in self._subscribed)

    def offered(self, topic: str, message_type: str) -> tuple[Qos, ...]:
        """Return every quality of service that publishers of a topic and type have offered so far.

        Those of publishers that have gone are included. It may be called on any thread.
        """
        return self._offered.get((topic, message_type), ())

    def discover(self) -> None:
        """Subscribe to the topics that exist now."""
        for topic in self._existing():
            publishers = self._node.get_publishers_info_by_topic(topic)
            # Without a publisher the quality of service is unknown.
            if publishers:
                self._follow(topic, publishers)

    def _existing(self) -> list[str]:
        if not self._patterns:
            return list(self.names)
        known = (name for name, _ in self._node.get_topic_names_and_types())
        matching = {
            name for name in known if any(fnmatchcase(name, one) for one in self._patterns)
        }
        return sorted(matching.union(self.names))

    def _follow(self, topic: str, publishers: Sequence[Any]) -> None:
        self._remember_offers(topic, publishers)
        before = self._subscribed.get(topic)
        offer = self._offer(topic, publishers, before.offer.message_type if before else "")
        if offer.is_latched:
            self._on_latched(topic, len(publishers))
        if before is not None and before.offer == offer:
            return
        if before is not None:
            self._node.destroy_subscription(before.subscription)
            del self._subscribed[topic]
            if before.offer.message_type != offer.message_type:
                self._on_problem(
                    topic,
                    f"'{topic}' was a {before.offer.message_type} and is now a "
                    f"{offer.message_type}: give one of them another name",
                )
        self._subscribe(topic, offer)

    def _remember_offers(self, topic: str, publishers: Sequence[Any]) -> None:
        for info in publishers:
            key = (topic, info.topic_type)
            # A tuple is replaced as a whole: another thread may be reading it.
            offers = (*self._offered.get(key, ()), offered_qos(info.qos_profile))
            self._offered[key] = tuple(dict.fromkeys(offers))

    def _offer(self, topic: str, publishers: Sequence[Any], before: str) -> Offer:
        types = sorted({info.topic_type for info in publishers})
        chosen = before if before in types else types[0]
        if len(types) > 1:
            self._on_problem(
                topic,
                f"'{topic}' is published as {' and as '.join(types)} at once, of which only "
                f"{chosen} is received: give one of them another name",
            )
        offers = [info.qos_profile for info in publishers if info.topic_type == chosen]
        return Offer(
            message_type=chosen,
            is_reliable=all(one.reliability == ReliabilityPolicy.RELIABLE for one in offers),
            is_latched=all(one.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in offers),
        )

    def _subscribe(self, topic: str, offer: Offer) -> None:
        def receive(message: bytes) -> None:
            self._on_message(topic, offer.message_type, message)

        try:
            subscription = self._node.create_subscription(
                message_class(offer.message_type), topic, receive, offer.qos, raw=True
            )
        except UsageError as error:
            self._on_problem(topic, f"'{topic}': {error}")
            return
        except Exception as error:  # rclpy raises whatever the support of a type does
            self._on_problem(topic, f"'{topic}' cannot be subscribed to: {error}")
            return
        self._subscribed[topic] = _Subscribed(offer, subscription)
        self._node.get_logger().info(f"subscribed to {topic} ({offer.message_type})")


def _resolve(node: Node, topic: str) -> str:
    if "*" not in topic:
        return full_topic_name(node, "topics", topic)
    return topic if topic.startswith("/") else f"{node.get_namespace().rstrip('/')}/{topic}"
