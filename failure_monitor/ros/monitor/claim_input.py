# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The topic that says whether the rollout that runs has succeeded."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import Bool

from failure_monitor.ros.common.collected_subscription import Collected
from failure_monitor.ros.common.message_info import MessageInfo
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic


class ClaimInput:
    """The messages of a topic, of which a change is a claim, or takes one back.

    They are collected at heartbeats: a flood of them wakes nobody.
    """

    def __init__(self, node: Node, topic: str, claim: Callable[[bool], None]) -> None:
        """Subscribe.

        Args:
            node: the node.
            topic: the topic.
            claim: called with true when success is claimed, with false when it no longer is.
        """
        self._claim = claim
        self._is_claimed = False
        self._topic = MonitoredTopic(
            node, Bool, topic, lambda _: None, DECISION_QOS, group=Collected()
        )

    def start_rollout(self) -> None:
        """Start a rollout, of which nothing has been claimed."""
        self.collect()
        self._is_claimed = False

    def collect(self) -> None:
        """Receive what was said since the last call."""
        self._topic.collect(DECISION_QOS.depth, self._receive)

    def destroy(self) -> None:
        """Destroy the subscription."""
        self._topic.destroy()

    def _receive(self, message: Bool, info: MessageInfo, now: float) -> None:
        if message.data != self._is_claimed:
            self._is_claimed = bool(message.data)
            self._claim(self._is_claimed)
