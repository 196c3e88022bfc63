# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an observation encoder sees: frames of all its cameras, and joint states, of one moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState

from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.messages.matching import MatchedMessages, ObservationMatcher
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.policy_models.observation_rate import ObservationRate
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.common.topic_name import COMPRESSED
from failure_monitor.ros.monitor.black_box_settings import BlackBoxSettings
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic
from failure_monitor.ros.monitor.stamp_guard import StampGuard

FRAMES_WAITING = 2
"""Frames that the middleware keeps for this node: older ones are of no use."""


class ObservationInput:
    """Matches frames and joint states by their stamps."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        cameras: Mapping[str, str],
        made: BlackBoxSettings,
        guard: StampGuard,
        *,
        joints: bool,
        has_rate: bool,
        take: Callable[[MatchedMessages, float], None],
    ) -> None:
        """Listen to the cameras; joint states are handed over by `take_joints`.

        Args:
            node: subscribes.
            settings: bound stamps.
            cameras: the topics by the cameras' names, in the encoder's order.
            made: what makes an observation.
            guard: of the stamps.
            joints: whether joint states belong to an observation.
            has_rate: whether the observation rate thins observations out; not where the policy's
                action chunks say of which it decides.
            take: given every observation, and when it was complete on the monotonic clock.
        """
        self.settings = settings
        self._guard = guard
        self._take = take
        self._matcher = ObservationMatcher(
            tuple(cameras), joints=joints, tolerance=made.matching_tolerance
        )
        self._observation_rate = made.observation_rate if has_rate else None
        self._rate = ObservationRate(self._observation_rate)
        reliability = (
            ReliabilityPolicy.RELIABLE
            if settings.images_reliable
            else ReliabilityPolicy.BEST_EFFORT
        )
        qos = QoSProfile(depth=FRAMES_WAITING, reliability=reliability)
        self._topics = {
            name: MonitoredTopic(
                node,
                CompressedImage if topic.endswith(COMPRESSED) else Image,
                topic,
                partial(self._on_image, name),
                qos,
            )
            for name, topic in cameras.items()
        }

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """What is listened to."""
        return tuple(self._topics.values())

    def start_rollout(self) -> None:
        """Forget what waits; stamps may begin anew."""
        self._matcher.clear()
        self._rate = ObservationRate(self._observation_rate)
        for topic in self.topics:
            topic.stream.start_rollout()

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """What is amiss with a camera; empty if nothing is."""
        return topic.contradiction() or topic.silence(now, self.settings.max_decision_age)

    def why_unmatched(self) -> str:
        """What has kept messages from being an observation so far, in words."""
        return "; ".join(self._matcher.problems())

    def take_joints(self, message: JointState) -> None:
        """A joint state has come."""
        if JOINTS in self._matcher.streams:
            self._add(JOINTS, stamp_nanoseconds(message.header.stamp), message, time.monotonic())

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        topic = self._topics[camera]
        now, stamp = time.monotonic(), stamp_nanoseconds(message.header.stamp)
        topic.stream.hear(now, stamp)
        if self._guard.admits(topic, stamp, self.settings):
            self._add(camera, stamp, message, now)

    def _add(
        self, stream: str, stamp: int, message: Image | CompressedImage | JointState, now: float
    ) -> None:
        matched = self._matcher.add(stream, stamp, message)
        if matched is not None and self._rate.accepts(matched.stamp):
            self._take(matched, now)
