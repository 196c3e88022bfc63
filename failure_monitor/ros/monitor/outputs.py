# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's publishers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Bool, Float64

from failure_monitor.decision import Verdict
from failure_monitor.ros.common.qos import DECISION_QOS, heartbeat_qos

RULE_LEVEL = "rule"
"""The name under which the combined normalised score is published beside the scores'."""


class MonitorOutputs:
    """The monitor's publishers.

    They are not lifecycle publishers, which are silent unless active and cannot publish why.
    """

    def __init__(self, node: Node, heartbeat_period: float) -> None:
        """Create the publishers that always exist.

        Args:
            node: the node that publishes.
            heartbeat_period: the longest time between two messages on ~/permit, in seconds.
        """
        self._node = node
        self._permit = node.create_publisher(
            Bool, "~/permit", heartbeat_qos(heartbeat_period, latched=False)
        )
        self._alarm = node.create_publisher(
            DiagnosticStatus, "~/alarm", heartbeat_qos(heartbeat_period, latched=True)
        )
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._normalised: dict[str, Publisher] = {}

    def open_scores(self, names: Iterable[str]) -> None:
        """Create a publisher for every score, and one for the rule."""
        self._normalised = {
            name: self._node.create_publisher(Float64, normalised_topic(name), DECISION_QOS)
            for name in (*names, RULE_LEVEL)
        }

    def close_scores(self) -> None:
        """Destroy the publishers of the scores."""
        for publisher in self._normalised.values():
            self._node.destroy_publisher(publisher)
        self._normalised = {}

    def publish_permit(self, permit: bool) -> None:
        """Publish whether commands may pass; before the alarm, so that it is withdrawn by then."""
        self._permit.publish(Bool(data=permit))

    def publish_alarm(self, alarm: DiagnosticStatus) -> None:
        """Publish the present state."""
        self._alarm.publish(alarm)

    def publish_scores(self, verdict: Verdict) -> None:
        """Publish the normalised scores that are defined, and the level of the rule."""
        for score in verdict.scores:
            if score.is_defined:
                self._normalised[score.name].publish(Float64(data=score.normalised))
        self._normalised[RULE_LEVEL].publish(Float64(data=verdict.level))

    def publish_diagnostics(self, statuses: Sequence[DiagnosticStatus]) -> None:
        """Publish statuses with the present stamp."""
        array = DiagnosticArray(status=list(statuses))
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def normalised_topic(score: str) -> str:
    """Return the topic of a normalised score, with a slash for the colon of an external one."""
    return f"~/normalised_scores/{score.replace(':', '/')}"
