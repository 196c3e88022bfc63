# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's joint states: their absence, and positions that are not finite, are problems."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState

from failure_monitor.parameters.monitor import MonitorParameters
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
        self._without_position: tuple[str, ...] = ()
        self._topic = MonitoredTopic(
            node,
            JointState,
            settings.joint_states_topic,
            self._on_joint_state,
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
        if self._without_position:
            return (
                f"'{topic.name}': the position of {', '.join(self._without_position)} is NaN or "
                "infinite: check the robot's driver"
            )
        return topic.silence(now, limit)

    def _on_joint_state(self, message: JointState) -> None:
        self._topic.stream.add(time.monotonic(), stamp_nanoseconds(message.header.stamp))
        self._forward(message)
        # A sum is not finite if a part is not; to check each would take long at 500 Hz.
        if math.isfinite(sum(message.position)):
            self._without_position = ()
            return
        self._topic.stream.rejected += 1
        self._without_position = tuple(
            message.name[index] if index < len(message.name) else f"joint number {index}"
            for index, position in enumerate(message.position)
            if not math.isfinite(position)
        )
