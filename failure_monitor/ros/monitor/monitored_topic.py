# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A topic that the monitor subscribes to, and whether its messages can be relied on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from failure_monitor.ros.common.collected_subscription import collect
from failure_monitor.ros.common.message_info import MessageInfo
from failure_monitor.ros.common.publishers import contradiction, why_silent
from failure_monitor.ros.common.stream import MAX_LOST_SHARE, Stream

REMEDY = (
    "with Fast DDS set FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA in every process and let images be "
    "published reliably, give it more shared memory by an XML profile, or use compressed images"
)
"""Remedy for the silent loss of large messages, which default DDS settings cause."""


class MonitoredTopic:
    """A subscription, and what is known about its messages.

    Attributes:
        stream: their counts, ages and rates.
        details: what the last message stated, for the diagnostics.
    """

    def __init__(
        self,
        node: Node,
        message: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        *,
        group: CallbackGroup | None = None,
    ) -> None:
        """Subscribe; in a group of callbacks, if one is given."""
        self._node = node
        self._qos = qos
        self._subscription = node.create_subscription(
            message, topic, callback, qos, callback_group=group
        )
        self._type = _type_name(message)
        self._named = topic
        self.stream = Stream(self._subscription.topic_name)
        self.details: Mapping[str, str] = {}

    @property
    def name(self) -> str:
        """The full name of the topic."""
        return self.stream.topic

    @property
    def publishers(self) -> int:
        """The number of publishers."""
        return int(self._node.count_publishers(self.name))

    @property
    def has_publisher(self) -> bool:
        """Whether there is a publisher."""
        return bool(self.publishers)

    @property
    def is_readable(self) -> bool:
        """Whether there is a publisher, and every one is of the type that is subscribed to."""
        publishers = self._node.get_publishers_info_by_topic(self.name)
        return bool(publishers) and all(each.topic_type == self._type for each in publishers)

    def collect(self, limit: int, handle: Callable[[Any, MessageInfo, float], None]) -> None:
        """Handle messages of a group for which no executor waits, with when they came."""
        collect(self._node, self._subscription, limit, handle)

    def destroy(self) -> None:
        """Destroy the subscription."""
        self._node.destroy_subscription(self._subscription)

    def silence(self, now: float, limit: float) -> str:
        """Return why no message came for more than `limit` seconds; empty if one did."""
        if not self.stream.is_silent(now, limit):
            return ""
        since = "so far" if self.stream.age(now) is None else f"for more than {limit:g} s"
        return f"no message on '{self.name}' {since}: {self.why_silent()}"

    def why_silent(self) -> str:
        """Return why no message may come, and what to do."""
        return why_silent(self._node, self.name, self._type, self._qos)

    def contradiction(self) -> str:
        """Return why its messages may contradict each other; empty with one publisher."""
        return contradiction(self._node, self.name)

    def diagnose(self, now: float, problem: str) -> tuple[bytes, str, dict[str, str]]:
        """Return level, message and values for the diagnostics.

        Args:
            now: seconds of the monotonic clock.
            problem: what is wrong with it; empty if nothing is.
        """
        stream, publishers = self.stream, self.publishers
        values = {
            "topic": self.name,
            # As a parameter or the bundle names it: remappings show nowhere else.
            "named": self._named,
            "messages": str(stream.received),
            "received_rate": f"{stream.received_rate(now):.2f}",
            "stamped_rate": f"{stream.stamped_rate():.2f}",
            "publishers": str(publishers),
            "refused": str(stream.rejected),
            "lost": str(stream.lost),
            "repeated": str(stream.repeated),
            "out_of_order": str(stream.out_of_order),
            **self.details,
        }
        age = stream.age(now)
        if age is not None:
            values["age"] = f"{age:.3f}"
        if problem:
            return DiagnosticStatus.ERROR, problem, values
        if self._qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
            return DiagnosticStatus.OK, "received" if stream.received else "not published", values
        lost = stream.lost_share()
        if lost > MAX_LOST_SHARE and publishers == 1:
            return DiagnosticStatus.WARN, self._loss(lost), values
        return DiagnosticStatus.OK, f"{stream.received_rate(now):.1f} Hz", values

    def _loss(self, share: float) -> str:
        problem = f"{share:.0%} of the messages, by their stamps, do not arrive"
        if self._qos.reliability == ReliabilityPolicy.RELIABLE:
            return f"{problem}: this machine or the network is overloaded"
        return f"{problem}: {REMEDY}"


def _type_name(message: type) -> str:
    package, kind, _ = message.__module__.split(".", 2)
    return f"{package}/{kind}/{message.__name__}"
