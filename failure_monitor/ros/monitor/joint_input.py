# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's joint states: their absence is a problem, and so is what cannot be relied on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState

from failure_monitor.messages.joint_soundness import JointSoundness
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.message_info import MessageInfo, sequence_number, with_info
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic


class JointInput:
    """The subscription to joint states."""

    def __init__(
        self, node: Node, settings: MonitorParameters, *, on_message: Callable[[JointState], None]
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: name the topic and bound the age of joint states.
            on_message: called with every message.
        """
        self.settings = settings
        self._forward = on_message
        self._soundness = JointSoundness()
        self._topic = MonitoredTopic(
            node,
            JointState,
            settings.joint_states_topic,
            with_info(self._on_joint_state),
            qos_profile_sensor_data,
        )

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""
        return (self._topic,)

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with them; empty if nothing is, or if they are not needed."""
        limit = self.settings.max_joint_state_age
        if limit == 0:
            return ""
        if topic.stream.age(now) is None:
            return (
                f"{topic.silence(now, limit)}; set max_joint_state_age to 0.0 for a robot without "
                "joints"
            )
        return topic.silence(now, limit) or self._soundness.problem(topic.name, now, limit)

    def _on_joint_state(self, message: JointState, info: MessageInfo) -> None:
        now = time.monotonic()
        self._topic.stream.add(now, stamp_nanoseconds(message.header.stamp))
        if self.settings.max_joint_state_age:
            self._check(message, info, now)
        self._forward(message)

    def _check(self, message: JointState, info: MessageInfo, now: float) -> None:
        stamp = message.header.stamp
        self._topic.stream.rejected += not self._soundness.update(
            message.name,
            message.position,
            sequence_number(info),
            (stamp.sec, stamp.nanosec),
            now,
        )
