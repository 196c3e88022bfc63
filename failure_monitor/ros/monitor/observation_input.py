# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The inputs of an observation encoder: images of all its cameras, and joint states."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState

from failure_monitor.bundle.input_types import COMPRESSED_IMAGE
from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.messages.matching import MatchedMessages, ObservationMatcher
from failure_monitor.messages.observation_history import History
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.policy_models.observation_rate import ObservationRate
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.monitor.black_box_settings import BlackBoxSettings
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic
from failure_monitor.ros.monitor.stamp_guard import StampGuard

QUEUE_DEPTH = 2
"""Images that the middleware keeps for this node; older ones are of no use."""


class ObservationInput:
    """Matches images and joint states by their stamps."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        cameras: Mapping[str, str],
        types: Mapping[str, str],
        black_box: BlackBoxSettings,
        guard: StampGuard,
        *,
        joints: bool,
        history: History | None,
        has_rate: bool,
        on_observation: Callable[[MatchedMessages, float], None],
    ) -> None:
        """Subscribe to the cameras; joint states come through `add_joints`.

        Args:
            node: the node that subscribes.
            settings: bound the stamps.
            cameras: the topics by the cameras' names, in the encoder's order.
            types: the types of their messages, by the cameras' names.
            black_box: how observations are made.
            guard: checks the stamps.
            joints: whether joint states belong to an observation.
            history: the observations that the encoder takes at once; None for one.
            has_rate: whether to keep the observation rate. Not where the policy's action chunks
                determine which observations count.
            on_observation: called with every observation, and when it was complete (monotonic).
        """
        self.settings = settings
        self._guard = guard
        self._on_observation = on_observation
        self._matcher = ObservationMatcher(
            tuple(cameras),
            joints=joints,
            tolerance=black_box.matching_tolerance,
            history=history,
        )
        self._observation_rate = black_box.observation_rate if has_rate else None
        self._rate = ObservationRate(self._observation_rate)
        reliability = (
            ReliabilityPolicy.RELIABLE
            if settings.images_reliable
            else ReliabilityPolicy.BEST_EFFORT
        )
        qos = QoSProfile(depth=QUEUE_DEPTH, reliability=reliability)
        self._topics = {
            name: MonitoredTopic(
                node,
                CompressedImage if types[name] == COMPRESSED_IMAGE else Image,
                topic,
                partial(self._on_image, name),
                qos,
            )
            for name, topic in cameras.items()
        }

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""
        return tuple(self._topics.values())

    def start_rollout(self) -> None:
        """Forget what waits; stamps may start again."""
        self._matcher.clear()
        self._rate = ObservationRate(self._observation_rate)
        for topic in self.topics:
            topic.stream.start_rollout()

    def restart(self) -> None:
        """Forget what waits, in the middle of a rollout."""
        self._matcher.clear()
        for topic in self.topics:
            topic.stream.restart()

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with a camera; empty if nothing is."""
        return topic.contradiction() or topic.silence(now, self.settings.max_decision_age)

    def why_unmatched(self) -> str:
        """Return why messages were not matched so far, as text; empty if they were."""
        return "; ".join(self._matcher.problems())

    def add_joints(self, message: JointState) -> None:
        """Receive a joint state."""
        if JOINTS in self._matcher.streams:
            self._add(JOINTS, stamp_nanoseconds(message.header.stamp), message, time.monotonic())

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        topic = self._topics[camera]
        now, stamp = time.monotonic(), stamp_nanoseconds(message.header.stamp)
        topic.stream.add(now, stamp)
        if not self._guard.rejection(topic, stamp, self.settings):
            self._add(camera, stamp, message, now)

    def _add(
        self, stream: str, stamp: int, message: Image | CompressedImage | JointState, now: float
    ) -> None:
        matched = self._matcher.add(stream, stamp, message)
        if matched is not None and self._rate.accepts(matched.stamp):
            self._on_observation(matched, now)
