# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's messages: embeddings, action chunks, or both."""

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

OnPart = Callable[[str, int, Any, float], None]
"""Called with a part's name, its stamp in nanoseconds, its values, and when it came (monotonic)."""


class PolicyInput:
    """Receives and reads the policy's messages."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        policy: PolicyFormat,
        parts: Collection[str],
        guard: StampGuard,
        *,
        on_part: OnPart,
        on_malformed: Callable[[str, str], None],
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: name the topics and bound the stamps.
            policy: the format of its decisions.
            parts: which of `EMBEDDING` and `CHUNKS` the policy publishes.
            guard: checks the stamps.
            on_part: called with the contents of every message.
            on_malformed: called with which part is malformed, and how.
        """
        self.settings = settings
        self.is_expected = False
        """Whether a rollout runs: between rollouts a policy may be silent."""
        self._policy = policy
        self._guard = guard
        self._on_part = on_part
        self._on_malformed = on_malformed
        topics = {
            EMBEDDING: (settings.embedding_topic, self._on_embedding),
            CHUNKS: (settings.action_chunks_topic, self._on_chunks),
        }
        self._topics = {
            part: MonitoredTopic(node, PointCloud2, topic, callback, DECISION_QOS)
            for part, (topic, callback) in topics.items()
            if part in parts
        }

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""
        return tuple(self._topics.values())

    def start_rollout(self) -> None:
        """Accept stamps that start again."""
        for topic in self.topics:
            topic.stream.start_rollout()

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with one of the topics; empty if nothing is."""
        problem = topic.contradiction()
        if problem or not self.is_expected:
            return problem
        return topic.silence(now, self.settings.max_decision_age)

    def _on_embedding(self, message: PointCloud2) -> None:
        self._receive(EMBEDDING, message, read_embedding)

    def _on_chunks(self, message: PointCloud2) -> None:
        self._receive(CHUNKS, message, self._read_chunks)

    def _read_chunks(self, message: PointCloud2) -> Any:
        names, chunks = read_action_chunks(message)
        if names != self._policy.action_names:
            raise PointCloudError(
                f"it carries the actions {list(names)}, the bundle expects "
                f"{list(self._policy.action_names)}: the topic is another policy's, or calibrate "
                "again"
            )
        return chunks

    def _receive(self, part: str, message: PointCloud2, read: Callable[[PointCloud2], Any]) -> None:
        topic = self._topics[part]
        now, stamp = time.monotonic(), stamp_nanoseconds(message.header.stamp)
        topic.stream.add(now, stamp)
        if not self._guard.admits(topic, stamp, self.settings):
            return
        try:
            values = read(message)
        except PointCloudError as error:
            topic.stream.rejected += 1
            self._on_malformed(part, f"'{topic.name}': {error}")
            return
        self._on_part(part, stamp, values, now)
