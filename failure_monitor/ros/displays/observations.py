# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The last observations of an encoder's cameras and joints, for the heat map."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, JointState

from failure_monitor.bundle.input_types import COMPRESSED_IMAGE
from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.messages.matching import MatchedMessages, ObservationMatcher
from failure_monitor.messages.observation_history import History
from failure_monitor.ros.common.messages import stamp_nanoseconds

MAX_OBSERVATIONS = 8
"""Number of observations that wait for the alarm's word on them."""

CAMERA_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)


class Observations:
    """Matches images and joint states as the monitor does, and remembers the last ones."""

    def __init__(
        self,
        node: Node,
        cameras: Mapping[str, str],
        types: Mapping[str, str],
        joints: str,
        tolerance: float,
        history: History | None,
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            cameras: the topics by the cameras' names, in the encoder's order.
            types: the types of their messages, by the cameras' names.
            joints: the topic of joint states; empty if no joints belong to an observation.
            tolerance: seconds by which the stamps of an observation may lie apart.
            history: the observations that the encoder takes at once; None for one.
        """
        self._node = node
        self._matcher = ObservationMatcher(
            tuple(cameras), joints=bool(joints), tolerance=tolerance, history=history
        )
        self._recent: deque[MatchedMessages] = deque(maxlen=MAX_OBSERVATIONS)
        self._subscriptions: list[Subscription] = [
            node.create_subscription(
                CompressedImage if types[camera] == COMPRESSED_IMAGE else Image,
                topic,
                partial(self._add, camera),
                CAMERA_QOS,
            )
            for camera, topic in cameras.items()
        ]
        if joints:
            self._subscriptions.append(
                node.create_subscription(
                    JointState, joints, partial(self._add, JOINTS), qos_profile_sensor_data
                )
            )

    def at(self, stamp: int) -> MatchedMessages | None:
        """Return the observation of a stamp in nanoseconds; None if it is not known."""
        return next((one for one in self._recent if one.stamp == stamp), None)

    def destroy(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _add(self, stream: str, message: Any) -> None:
        matched = self._matcher.add(stream, stamp_nanoseconds(message.header.stamp), message)
        if matched is not None:
            self._recent.append(matched)
