# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's messages: embeddings, action chunks, or both, and tokens.

Where calibration knew no embedding, nobody may publish one: it would be another policy.

Every message is reported twice: when it is received, as what makes a decision gets its number
then; and with its contents, or with why it cannot be used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from failure_monitor.decision import PolicyFormat
from failure_monitor.messages.point_cloud import (
    PointCloudError,
    read_action_chunks,
    read_embedding,
    read_tokens,
)
from failure_monitor.monitoring.rollout_reports import FIRST
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.message_info import (
    MessageInfo,
    publication_time,
    sequence_number,
    with_info,
)
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.common.qos import DECISION_SUBSCRIPTION_QOS
from failure_monitor.ros.common.topic_name import full_topic_name
from failure_monitor.ros.monitor.awaited_values import Places
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic
from failure_monitor.ros.monitor.pending_decision import CHUNKS, EMBEDDING, TOKENS
from failure_monitor.ros.monitor.stamp_guard import StampGuard


@dataclass(frozen=True)
class ReceivedPart:
    """A message of the policy, before its contents are read.

    Attributes:
        part: `EMBEDDING`, `TOKENS` or `CHUNKS`.
        stamp: its stamp in nanoseconds.
        received: when it came, in seconds of the monotonic clock.
        lost: number of messages that the middleware lost before it.
        is_first: whether it is the first message of its publisher.
        publication: after when and until when, in nanoseconds of one clock, its publisher can
            have published what belongs to it on other topics.
    """

    part: str
    stamp: int
    received: float
    lost: int
    is_first: bool
    publication: Places


OnReceived = Callable[[ReceivedPart], int | None]
"""Called with every message; returns the number of the decision that it makes, if it makes one."""

OnPart = Callable[[ReceivedPart, int | None, Any], None]
"""Called with a message, the number of its decision, and its values."""

OnRejected = Callable[[int | None, str], None]
"""Called with the number of the decision of a message that cannot be used, and with why."""


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
        token_shape: tuple[int, int] | None = None,
        on_received: OnReceived,
        on_part: OnPart,
        on_rejected: OnRejected,
        on_fault: Callable[[str], None],
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: name the topics and bound the stamps.
            policy: the format of its decisions.
            parts: which of `EMBEDDING`, `TOKENS` and `CHUNKS` the policy publishes.
            guard: checks the stamps.
            token_shape: the number and size of the tokens that are expected; None if unknown.
            on_received: called with every message.
            on_part: called with the contents of every message that can be used.
            on_rejected: called for every other message.
            on_fault: called with how a message is malformed.
        """
        self.settings = settings
        self.is_expected = False
        """Whether a rollout runs: between rollouts a policy may be silent."""
        self.may_be_silent = False
        """Whether the monitor itself has stopped the policy."""
        self._node = node
        self._policy = policy
        self._token_shape = token_shape
        self._guard = guard
        self._on_received = on_received
        self._on_part = on_part
        self._on_rejected = on_rejected
        self._on_fault = on_fault
        self._published: dict[str, int] = {}
        self._embedding_topic = full_topic_name(
            node, "embedding_topic", settings.embedding_topic, is_optional=True
        )
        topics = {
            EMBEDDING: (settings.embedding_topic, self._on_embedding),
            TOKENS: (settings.tokens_topic, self._on_tokens),
            CHUNKS: (settings.action_chunks_topic, self._on_chunks),
        }
        self._topics = {
            part: MonitoredTopic(
                node, PointCloud2, topic, with_info(callback), DECISION_SUBSCRIPTION_QOS
            )
            for part, (topic, callback) in topics.items()
            if part in parts
        }

    @property
    def topics_by_part(self) -> Mapping[str, MonitoredTopic]:
        """The topics by what the policy publishes there."""
        return self._topics

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""
        return tuple(self._topics.values())

    def start_rollout(self) -> None:
        """Accept stamps that start again."""
        for topic in self.topics:
            topic.stream.start_rollout()

    def restart(self) -> None:
        """Accept stamps that start again in the middle of a rollout."""
        for topic in self.topics:
            topic.stream.restart()

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with one of the topics; empty if nothing is."""
        problem = topic.contradiction()
        if problem or self.may_be_silent or not self.is_expected:
            return problem
        return topic.silence(now, self.settings.max_decision_age)

    def _publication(self, part: str, published: int) -> Places:
        """Return when the parts of a message's decision were published that come before it."""
        before, self._published[part] = self._published.get(part), published
        was_set_back = before is not None and before > published
        return Places(None if was_set_back else before, published)

    def unexpected_embedding(self) -> str:
        """Return that embeddings are published which calibration did not know; empty if none."""
        topic = self._embedding_topic
        if self._policy.embedding_size or not topic or not self._node.count_publishers(topic):
            return ""
        return (
            f"a policy publishes embeddings on '{topic}', and the bundle was calibrated without: "
            "if it is another policy, start the right one; if it is the same, calibrate again "
            "with them, or set 'embedding_topic' to '' to do without"
        )

    def _on_embedding(self, message: PointCloud2, info: MessageInfo) -> None:
        self._receive(EMBEDDING, message, info, read_embedding)

    def _on_tokens(self, message: PointCloud2, info: MessageInfo) -> None:
        self._receive(TOKENS, message, info, self._read_tokens)

    def _on_chunks(self, message: PointCloud2, info: MessageInfo) -> None:
        self._receive(CHUNKS, message, info, self._read_chunks)

    def _read_tokens(self, message: PointCloud2) -> Any:
        """Return the tokens. Those of another policy would wait in vain, and take memory."""
        tokens = read_tokens(message)
        if self._token_shape not in (None, tokens.shape):
            raise PointCloudError(
                f"the tokens have shape {tokens.shape}, expected (N, F) = {self._token_shape}: "
                "the policy was re-trained, or these are another policy's; calibrate again"
            )
        return tokens

    def _read_chunks(self, message: PointCloud2) -> Any:
        names, chunks = read_action_chunks(message)
        if names != self._policy.action_names:
            raise PointCloudError(
                f"it carries the actions {list(names)}, the bundle expects "
                f"{list(self._policy.action_names)}: the topic is another policy's, or calibrate "
                "again"
            )
        return chunks

    def _receive(
        self,
        part: str,
        message: PointCloud2,
        info: MessageInfo,
        read: Callable[[PointCloud2], Any],
    ) -> None:
        stream = self._topics[part].stream
        now, stamp = time.monotonic(), stamp_nanoseconds(message.header.stamp)
        stream.add(now, stamp)
        order = sequence_number(info)
        received = ReceivedPart(
            part,
            stamp,
            now,
            stream.count_lost(order),
            order == FIRST,
            self._publication(part, publication_time(info)),
        )
        number = self._on_received(received)
        rejection = self._guard.rejection(self._topics[part], stamp, self.settings)
        if rejection:
            self._on_rejected(number, rejection)
            return
        try:
            values = read(message)
        except PointCloudError as error:
            stream.rejected += 1
            reason = f"'{stream.topic}': {error}"
            self._on_fault(reason)
            self._on_rejected(number, reason)
            return
        self._on_part(received, number, values)
