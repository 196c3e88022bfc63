# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the policy node publishes of its decisions: embeddings and action chunks, in pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from failure_monitor.decision import PolicyFormat
from failure_monitor.point_cloud import PointCloudError, read_action_chunks, read_embedding
from failure_monitor.ros.messages import stamp_nanoseconds
from failure_monitor.ros.monitor_parameters import MonitorParameters
from failure_monitor.ros.monitored_topic import MonitoredTopic
from failure_monitor.ros.pairing import DecisionPairing, Pair
from failure_monitor.ros.qos import DECISION_QOS
from failure_monitor.ros.stream import ClockSetBackError, StampError, StampLimits


class PolicyInput:
    """Makes pairs of the policy's messages."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        policy: PolicyFormat,
        *,
        take: Callable[[Pair, float], None],
        fail: Callable[[str], None],
    ) -> None:
        """Listen.

        Args:
            node: subscribes.
            settings: name the topics and bound the stamps.
            policy: what its messages must look like.
            take: given every pair, and when it was complete on the monotonic clock.
            fail: told why a message cannot be used.
        """
        self.settings = settings
        self.pairing = DecisionPairing()
        self._node = node
        self._policy = policy
        self._on_pair = take
        self._fail = fail
        self._last_pair: float | None = None
        self._embeddings = MonitoredTopic(
            node, PointCloud2, settings.embedding_topic, self._on_embedding, DECISION_QOS
        )
        self._chunks = MonitoredTopic(
            node, PointCloud2, settings.action_chunks_topic, self._on_chunks, DECISION_QOS
        )

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """What is listened to."""
        return (self._embeddings, self._chunks)

    def start_rollout(self) -> None:
        """Forget what waits; stamps may begin anew."""
        self.pairing.start_rollout()
        self._last_pair = None
        for topic in self.topics:
            topic.stream.start_rollout()

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """What is amiss with one of the topics; empty if nothing is."""
        return topic.contradiction() or topic.silence(now, self.settings.max_decision_age)

    def why_unpaired(self, now: float) -> str:
        """Why no pair comes, though both halves do; empty if that is not so."""
        limit = self.settings.max_decision_age
        is_late = self._last_pair is None or now - self._last_pair > limit
        comes = not any(topic.stream.is_silent(now, limit) for topic in self.topics)
        if not (self.pairing.is_stuck and is_late and comes):
            return ""
        return (
            f"messages on '{self._embeddings.name}' and '{self._chunks.name}' come with different "
            "stamps: publish both halves of a decision with the stamp of its observation"
        )

    def _on_embedding(self, message: PointCloud2) -> None:
        self._hear(self._embeddings, message, read_embedding, self.pairing.embedding)

    def _on_chunks(self, message: PointCloud2) -> None:
        self._hear(self._chunks, message, self._read_chunks, self.pairing.chunks)

    def _read_chunks(self, message: PointCloud2) -> Any:
        names, chunks = read_action_chunks(message)
        if names != self._policy.action_names:
            raise PointCloudError(
                f"it carries the actions {list(names)}, the bundle expects "
                f"{list(self._policy.action_names)}: the topic is another policy's, or calibrate "
                "again"
            )
        return chunks

    def _hear(
        self,
        topic: MonitoredTopic,
        message: PointCloud2,
        read: Callable[[PointCloud2], Any],
        pair: Callable[[int, Any], Pair | None],
    ) -> None:
        now, stamp = time.monotonic(), stamp_nanoseconds(message.header.stamp)
        topic.stream.hear(now, stamp)
        try:
            if not self._is_next(topic, stamp):
                return
            complete = pair(stamp, read(message))
        except (PointCloudError, StampError) as error:
            topic.stream.refused += 1
            if topic is self._chunks:
                self.pairing.miss()
            self._fail(f"'{topic.name}': {error}")
            return
        if complete is not None:
            self._last_pair = now
            self._on_pair(complete, now)

    def _is_next(self, topic: MonitoredTopic, stamp: int) -> bool:
        limits = StampLimits(self.settings.max_stamp_lead, self.settings.max_stamp_age)
        clock = self._node.get_clock().now().nanoseconds
        try:
            return topic.stream.is_next(stamp, clock, limits)
        except ClockSetBackError as error:
            # From now on in the new time: this is the first message of it.
            self._fail(f"'{topic.name}': {error}")
            self.start_rollout()
            return topic.stream.is_next(stamp, clock, limits)
