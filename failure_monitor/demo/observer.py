# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Listens to all that the demo shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, PointCloud2
from std_msgs.msg import Bool, Float64MultiArray, String

from failure_monitor.demo.timeline import Frame, GateChange, ObservedMessages, TimedAlarm
from failure_monitor.parameters.topics import ACTION_CHUNKS_TOPIC
from failure_monitor.ros.common.alarm_message import read_alarm
from failure_monitor.ros.common.messages import stamp_nanoseconds

HAS_PUBLICATION_TIME = hasattr(Subscription, "CallbackType")
"""Whether rclpy gives the time of publication. On Humble the time of reception stands in."""

DEPTH = 200
"""Messages kept while the observer is busy; it must not miss one."""

EVENT_QOS = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
STATE_QOS = QoSProfile(
    depth=DEPTH,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class Observer:
    """Records what robot, policy, monitor and gate publish, with the times of publication."""

    def __init__(self, node: Node) -> None:
        self.observed = ObservedMessages()
        """What came since the last `clear`."""
        self.gate_open = False
        """Whether the gate last reported to be open."""
        self.perturbation = "none"
        """The kind of perturbation that the robot last reported."""
        self._node = node
        self._listen(Bool, "rollout/active", STATE_QOS, self._on_active)
        self._listen(Bool, "rollout/success", STATE_QOS, self._on_outcome)
        self._listen(Bool, "rollout/truth", STATE_QOS, self._on_truth)
        self._listen(DiagnosticStatus, "failure_monitor/outcome", STATE_QOS, self._on_check)
        self._listen(String, "perturbation/active", STATE_QOS, self._on_perturbation)
        self._listen(DiagnosticStatus, "failure_monitor/alarm", STATE_QOS, self._on_alarm)
        self._listen(Bool, "failure_monitor_gate/open", STATE_QOS, self._on_gate)
        self._listen(PointCloud2, ACTION_CHUNKS_TOPIC, EVENT_QOS, self._on_chunks)
        self._listen(Float64MultiArray, "policy/command", EVENT_QOS, self._on_sent)
        self._listen(Float64MultiArray, "command", EVENT_QOS, self._on_passed)
        self._listen(CompressedImage, "camera/image_raw/compressed", EVENT_QOS, self._on_image)

    def clear(self) -> None:
        """Forget what was recorded."""
        self.observed = ObservedMessages()

    def _listen(
        self, message: type, topic: str, qos: QoSProfile, receive: Callable[[Any, int], None]
    ) -> None:
        def on_message(content: Any, info: Any) -> None:
            receive(content, info["source_timestamp"])

        def on_bare_message(content: Any) -> None:
            receive(content, time.time_ns())

        callback = on_message if HAS_PUBLICATION_TIME else on_bare_message
        self._node.create_subscription(message, topic, callback, qos)

    def _on_active(self, message: Bool, time: int) -> None:
        self.observed.active.append((time, message.data))

    def _on_outcome(self, message: Bool, time: int) -> None:
        self.observed.outcomes.append((time, message.data))

    def _on_truth(self, message: Bool, time: int) -> None:
        self.observed.truths.append((time, message.data))

    def _on_check(self, message: DiagnosticStatus, time: int) -> None:
        self.observed.checks.append((time, message.message))

    def _on_perturbation(self, message: String, time: int) -> None:
        self.perturbation = message.data
        self.observed.perturbations.append((time, message.data))

    def _on_alarm(self, message: DiagnosticStatus, time: int) -> None:
        self.observed.readings.append(TimedAlarm.of(read_alarm(message), time))

    def _on_gate(self, message: Bool, time: int) -> None:
        self.gate_open = message.data
        self.observed.gate.append(GateChange(time, message.data))

    def _on_chunks(self, message: PointCloud2, time: int) -> None:
        self.observed.chunks.append((time, stamp_nanoseconds(message.header.stamp)))

    def _on_sent(self, message: Float64MultiArray, time: int) -> None:
        self.observed.sent.append(time)

    def _on_passed(self, message: Float64MultiArray, time: int) -> None:
        self.observed.passed.append(time)

    def _on_image(self, message: CompressedImage, time: int) -> None:
        self.observed.frames.append(Frame(time, bytes(message.data)))
