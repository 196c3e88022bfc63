# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What opens, closes and slows the gate: permits and speed scales, each with its own lease.

Each has a timer of a steady clock, which makes the gate update when the lease runs out, whatever
happens to ROS time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Bool, Float64

from failure_monitor.monitoring.permit import PermitLease, SpeedScaleLease
from failure_monitor.monitoring.several_publishers import SeveralPublishers
from failure_monitor.ros.common.incompatible_qos import subscription_events
from failure_monitor.ros.common.message_info import (
    MessageInfo,
    pending_messages,
    publisher_count,
    seconds_since_publication,
    sequence_number,
    with_info,
)
from failure_monitor.ros.common.publishers import contradiction, why_silent
from failure_monitor.ros.common.qos import PERMIT_SUBSCRIPTION_QOS

MIN_TIMER_PERIOD = 0.001
"""Seconds after which a lease is looked at again at the earliest."""


class Lease(Protocol):
    """What one topic grants for a time."""

    def update(self, value: Any, now: float, *, age: float, contested: bool | None) -> None:
        """Receive what was published."""

    def overflow(self, now: float) -> None:
        """Record that messages were lost: more came than can be read, or one cannot be read."""


class LeasedInput:
    """One topic whose messages are valid for a lease."""

    def __init__(
        self,
        node: Node,
        message: type,
        topic: str,
        lease: Lease,
        seconds: float,
        *,
        changed: Callable[[], object],
    ) -> None:
        """Subscribe to the topic.

        Args:
            node: the gate.
            message: the message type.
            topic: the topic.
            lease: receives what is published.
            seconds: for which one message is valid.
            changed: called whenever the gate may have to open or close.
        """
        self.topic = topic
        self._node = node
        self._lease = lease
        self._seconds = seconds
        self._changed = changed
        self._publishers = SeveralPublishers()
        self._subscription = node.create_subscription(
            message,
            topic,
            with_info(self._on_message),
            PERMIT_SUBSCRIPTION_QOS,
            event_callbacks=subscription_events(self._on_incompatible),
        )
        self._expiry = node.create_timer(
            seconds, changed, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def receive_pending(self) -> None:
        """Receive the messages that wait for the executor: none is newer than the lease then."""
        limit = PERMIT_SUBSCRIPTION_QOS.depth
        try:
            messages = pending_messages(self._subscription, limit)
        except Exception:
            # The middleware's error for a message that cannot be read has no public name.
            self._lease.overflow(time.monotonic())
            return
        for message, info in messages:
            self._receive(message, info)
        if len(messages) >= limit - 1:
            # The queue was full: a withdrawal may have been lost to what came after it.
            self._lease.overflow(time.monotonic())

    def _on_message(self, message: Any, info: MessageInfo) -> None:
        self._receive(message, info)
        self.receive_pending()
        self._changed()

    def _receive(self, message: Any, info: MessageInfo) -> None:
        age = seconds_since_publication(info)
        now, count = time.monotonic(), publisher_count(self._node, self._subscription)
        contested = self._publishers.update(sequence_number(info), count, now)
        self._lease.update(message.data, now, age=age, contested=contested)
        self._time_expiry(self._seconds - max(age, 0.0))

    def _time_expiry(self, seconds: float) -> None:
        """Have the gate update when the lease of the newest message runs out."""
        period = max(seconds, MIN_TIMER_PERIOD)
        if abs(1e-9 * self._expiry.timer_period_ns - period) > MIN_TIMER_PERIOD:
            self._expiry.timer_period_ns = int(1e9 * period)
        self._expiry.reset()

    def _on_incompatible(self, policy: str) -> None:
        self._node.get_logger().error(self._why_incompatible(policy))

    def _why_incompatible(self, policy: str) -> str:
        return (
            f"the publisher of '{self.topic}' offers less {policy} than the gate asks for, so no "
            "message comes: it must be reliable"
        )


class PermitInput(LeasedInput):
    """One monitor's permit."""

    def __init__(
        self, node: Node, topic: str, lease: float, *, changed: Callable[[], object]
    ) -> None:
        """Subscribe to the topic; the arguments are those of `LeasedInput`."""
        self.lease = PermitLease(lease, topic)
        self._incompatible = ""
        super().__init__(node, Bool, topic, self.lease, lease, changed=changed)
        self._full_name = self._subscription.topic_name

    def is_open(self, now: float) -> bool:
        """Return whether commands may pass as far as this monitor is concerned."""
        return self.lease.is_open(now)

    def is_silent(self, now: float) -> bool:
        """Return whether no permit or withdrawal has come for a lease."""
        return self.lease.is_silent(now)

    def reason(self, now: float) -> str:
        """Return why this permit keeps the gate open or closed."""
        if self._incompatible and self.lease.is_silent(now):
            return self._incompatible
        return self.lease.reason(now)

    def explanation(self, now: float) -> str:
        """Return the reason; for a silence also who publishes what on the topic."""
        if not self.is_silent(now):
            return self.reason(now)
        why = why_silent(self._node, self._full_name, "std_msgs/msg/Bool", PERMIT_SUBSCRIPTION_QOS)
        return f"{self.reason(now)} ({why})"

    def fault(self, now: float) -> str:
        """Return what must be mended; empty if nothing must."""
        if self._incompatible and self.lease.is_silent(now):
            return self._incompatible
        several = contradiction(self._node, self._full_name)
        if several:
            return f"{several}; or name a topic of its own for each monitor in 'permit_topics'"
        return ""

    def _receive(self, message: Any, info: MessageInfo) -> None:
        self._incompatible = ""
        super()._receive(message, info)

    def _on_incompatible(self, policy: str) -> None:
        super()._on_incompatible(policy)
        self._incompatible = self._why_incompatible(policy)
        self._changed()


class SpeedScaleInput(LeasedInput):
    """One monitor's speed scale."""

    def __init__(
        self, node: Node, topic: str, lease: float, *, changed: Callable[[], object]
    ) -> None:
        """Subscribe to the topic; the arguments are those of `LeasedInput`."""
        self.lease = SpeedScaleLease(lease, topic)
        super().__init__(node, Float64, topic, self.lease, lease, changed=changed)
