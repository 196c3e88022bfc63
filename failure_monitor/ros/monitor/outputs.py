# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's publishers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Bool, Float64, Header

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.decision import Verdict
from failure_monitor.ros.common.messages import action_chunks_message, stamp_message
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_QOS, heartbeat_qos

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
        self._promise = node.create_publisher(DiagnosticStatus, "~/promise", LATCHED_QOS)
        self._outcome = node.create_publisher(DiagnosticStatus, "~/outcome", LATCHED_QOS)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._normalised: dict[str, Publisher] = {}
        self._chunks: Publisher | None = None
        self._action_names: tuple[str, ...] = ()

    def open(self, bundle: Bundle, *, samples: bool) -> None:
        """Create a publisher for every score of a bundle, and one for the rule.

        Args:
            bundle: the bundle.
            samples: whether the monitor samples the action chunks itself and publishes them.
        """
        names = [score.name for score in bundle.scores]
        self._normalised = {
            name: self._node.create_publisher(Float64, normalised_topic(name), DECISION_QOS)
            for name in (*names, RULE_LEVEL)
        }
        self._action_names = bundle.policy.action_names
        if samples:
            self._chunks = self._node.create_publisher(
                PointCloud2, "~/action_chunks", DECISION_QOS
            )

    def close(self) -> None:
        """Destroy the publishers of a bundle."""
        for publisher in (*self._normalised.values(), self._chunks):
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        self._normalised, self._chunks = {}, None

    def publish_permit(self, permit: bool) -> None:
        """Publish whether commands may pass; before the alarm, so that it is withdrawn by then."""
        self._permit.publish(Bool(data=permit))

    def publish_alarm(self, alarm: DiagnosticStatus) -> None:
        """Publish the present state."""
        self._alarm.publish(alarm)

    def publish_promise(self, promise: DiagnosticStatus) -> None:
        """Publish whether the bundle's promise still holds."""
        self._promise.publish(promise)

    def publish_outcome(self, outcome: DiagnosticStatus) -> None:
        """Publish what is known of how the last rollout ended."""
        self._outcome.publish(outcome)

    def publish_scores(self, verdict: Verdict) -> None:
        """Publish the normalised scores that are defined, and the level of the rule."""
        for score in verdict.scores:
            if score.is_defined:
                self._normalised[score.name].publish(Float64(data=score.normalised))
        self._normalised[RULE_LEVEL].publish(Float64(data=verdict.level))

    def publish_chunks(self, chunks: NDArray[np.float32], stamp: int) -> None:
        """Publish chunks that the monitor has sampled, while somebody subscribes.

        Args:
            chunks: float32 (B, H, D).
            stamp: of the observation, in nanoseconds.
        """
        if self._chunks is not None and self._chunks.get_subscription_count():
            header = Header(stamp=stamp_message(stamp))
            self._chunks.publish(action_chunks_message(chunks, self._action_names, header))

    def publish_diagnostics(self, statuses: Sequence[DiagnosticStatus]) -> None:
        """Publish statuses with the present stamp."""
        array = DiagnosticArray(status=list(statuses))
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def normalised_topic(score: str) -> str:
    """Return the topic of a normalised score, with a slash for the colon of an external one."""
    return f"~/normalised_scores/{score.replace(':', '/')}"
