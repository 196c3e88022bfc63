# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What opens, closes and slows the gate: permits and speed scales, each with its own lease.

Each has a timer of a steady clock, which makes the gate update when the lease runs out, whatever
happens to ROS time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Bool, Float64

from failure_monitor.monitoring.permit import PermitLease, SpeedScaleLease
from failure_monitor.ros.common.incompatible_qos import subscription_events
from failure_monitor.ros.common.publishers import contradiction, why_silent
from failure_monitor.ros.common.qos import PERMIT_SUBSCRIPTION_QOS


class PermitInput:
    """One monitor's permit."""

    def __init__(
        self, node: Node, topic: str, lease: float, *, changed: Callable[[], object]
    ) -> None:
        """Subscribe to the topic.

        Args:
            node: the gate.
            topic: the topic.
            lease: seconds for which one message is valid.
            changed: called whenever the gate may have to open or close.
        """
        self.topic = topic
        self.lease = PermitLease(lease, topic)
        self._node = node
        self._changed = changed
        self._incompatible = ""
        subscription = node.create_subscription(
            Bool,
            topic,
            self._on_permit,
            PERMIT_SUBSCRIPTION_QOS,
            event_callbacks=subscription_events(self._on_incompatible),
        )
        self._full_name = subscription.topic_name
        self._expiry = node.create_timer(
            lease, changed, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

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

    def _on_permit(self, permit: Bool) -> None:
        now = time.monotonic()
        contested = not self.is_open(now) and self._node.count_publishers(self._full_name) > 1
        self.lease.update(permit.data, now, contested=contested)
        self._incompatible = ""
        self._expiry.reset()
        self._changed()

    def _on_incompatible(self, policy: str) -> None:
        self._incompatible = (
            f"the publisher of '{self.topic}' offers less {policy} than the gate asks for, so no "
            "permit comes: it must be reliable"
        )
        self._node.get_logger().error(self._incompatible)
        self._changed()


class SpeedScaleInput:
    """One monitor's speed scale."""

    def __init__(
        self, node: Node, topic: str, lease: float, *, changed: Callable[[], object]
    ) -> None:
        """Subscribe to the topic.

        Args:
            node: the gate.
            topic: the topic.
            lease: seconds for which one message is valid.
            changed: called whenever the gate may have to open or close.
        """
        self.lease = SpeedScaleLease(lease, topic)
        self._changed = changed
        node.create_subscription(
            Float64,
            topic,
            self._on_scale,
            PERMIT_SUBSCRIPTION_QOS,
            event_callbacks=subscription_events(self._on_incompatible),
        )
        self._expiry = node.create_timer(
            lease, changed, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._logger = node.get_logger()
        self._topic = topic

    def _on_scale(self, scale: Float64) -> None:
        self.lease.update(scale.data, time.monotonic())
        self._expiry.reset()
        self._changed()

    def _on_incompatible(self, policy: str) -> None:
        self._logger.error(
            f"the publisher of '{self._topic}' offers less {policy} than the gate asks for, so no "
            "speed scale comes: it must be reliable"
        )
