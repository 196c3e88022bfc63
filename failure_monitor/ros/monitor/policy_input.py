# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the policy node publishes of its decisions: embeddings, action chunks, or both."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from failure_monitor.decision import PolicyFormat
from failure_monitor.messages.point_cloud import PointCloudError, read_action_chunks, read_embedding
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic
from failure_monitor.ros.monitor.pending_decision import CHUNKS, EMBEDDING
from failure_monitor.ros.monitor.stamp_guard import StampGuard

TakeHalf = Callable[[str, int, Any, float], None]
"""Given which half, its stamp in nanoseconds, what it holds, and when it came (monotonic)."""


class PolicyInput:
    """Reads the policy's messages."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        policy: PolicyFormat,
        halves: Collection[str],
        guard: StampGuard,
        *,
        take: TakeHalf,
        refuse: Callable[[str, str], None],
    ) -> None:
        """Listen.

        Args:
            node: subscribes.
            settings: name the topics and bound the stamps.
            policy: what its messages must look like.
            halves: which of `EMBEDDING` and `CHUNKS` the policy publishes.
            guard: of the stamps.
            take: given what every message holds.
            refuse: told which half is malformed, and how.
        """
        self.settings = settings
        self.is_expected = False
        """Whether a rollout runs: between rollouts a policy may be silent."""
        self._policy = policy
        self._guard = guard
        self._take = take
        self._refuse = refuse
        topics = {
            EMBEDDING: (settings.embedding_topic, self._on_embedding),
            CHUNKS: (settings.action_chunks_topic, self._on_chunks),
        }
        self._topics = {
            half: MonitoredTopic(node, PointCloud2, topic, callback, DECISION_QOS)
            for half, (topic, callback) in topics.items()
            if half in halves
        }

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """What is listened to."""
        return tuple(self._topics.values())

    def start_rollout(self) -> None:
        """Stamps may begin anew."""
        for topic in self.topics:
            topic.stream.start_rollout()

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """What is amiss with one of the topics; empty if nothing is."""
        told = topic.contradiction()
        if told or not self.is_expected:
            return told
        return topic.silence(now, self.settings.max_decision_age)

    def _on_embedding(self, message: PointCloud2) -> None:
        self._hear(EMBEDDING, message, read_embedding)

    def _on_chunks(self, message: PointCloud2) -> None:
        self._hear(CHUNKS, message, self._read_chunks)

    def _read_chunks(self, message: PointCloud2) -> Any:
        names, chunks = read_action_chunks(message)
        if names != self._policy.action_names:
            raise PointCloudError(
                f"it carries the actions {list(names)}, the bundle expects "
                f"{list(self._policy.action_names)}: the topic is another policy's, or calibrate "
                "again"
            )
        return chunks

    def _hear(self, half: str, message: PointCloud2, read: Callable[[PointCloud2], Any]) -> None:
        topic = self._topics[half]
        now, stamp = time.monotonic(), stamp_nanoseconds(message.header.stamp)
        topic.stream.hear(now, stamp)
        if not self._guard.admits(topic, stamp, self.settings):
            return
        try:
            values = read(message)
        except PointCloudError as error:
            topic.stream.refused += 1
            self._refuse(half, f"'{topic.name}': {error}")
            return
        self._take(half, stamp, values, now)
