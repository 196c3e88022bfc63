# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The operator's word on rollouts that have ended: by topics and by a service."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import Bool, String

from failure_monitor.printable_text import printable
from failure_monitor.ros.common.collected_subscription import Collected
from failure_monitor.ros.common.message_info import MessageInfo
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.common.services import Answer
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic
from failure_monitor.ros.monitor.rollout_results import RolloutResults

WORDS = {"success": True, "failure": False}

MAX_TEXT = 200
"""Characters of a label."""

MAX_SHOWN = 100
"""Characters that are shown of what is no label."""

ECHO = 1.0
"""Seconds for which this node hears what it has published itself."""

LOG_PERIOD = 1.0
"""Seconds between two labels that are logged: there may be a flood of them."""


class LabelInput:
    """Receives labels at heartbeats: a flood of them wakes nobody.

    What is said by text or service is repeated on the topic of plain words, which recorders keep.
    """

    def __init__(
        self, node: Node, label_topic: str, results: Callable[[], RolloutResults | None]
    ) -> None:
        """Subscribe.

        Args:
            node: the node.
            label_topic: the topic of plain words, std_msgs/Bool; empty if there is none.
            results: returns what takes labels; None while no bundle is configured.
        """
        self._node = node
        self._results = results
        self._published: deque[tuple[bool, float]] = deque(maxlen=DECISION_QOS.depth)
        """What this node has published and not heard itself yet, and when."""
        self._reported_at = -LOG_PERIOD
        self._named = MonitoredTopic(
            node, String, "~/label", lambda _: None, DECISION_QOS, group=Collected()
        )
        self._plain, self._publisher = None, None
        if label_topic:
            self._plain = MonitoredTopic(
                node, Bool, label_topic, lambda _: None, DECISION_QOS, group=Collected()
            )
            self._publisher = node.create_publisher(Bool, label_topic, DECISION_QOS)

    def collect(self) -> None:
        """Receive what was said since the last call."""
        self._named.collect(DECISION_QOS.depth, self._receive_text)
        if self._plain is not None:
            self._plain.collect(DECISION_QOS.depth, self._receive_word)

    def answer(self, success: bool) -> Answer:
        """Receive a label of the rollout that ended last, by service."""
        problem = self._label(success, "")
        results = self._results()
        if problem or results is None:
            return Answer(False, problem)
        self._repeat(success)
        word = "success" if success else "failure"
        return Answer(True, f"rollout '{results.last_ended}' is labelled a {word}")

    def _receive_word(self, message: Bool, info: MessageInfo, now: float) -> None:
        if not self._is_echo(bool(message.data), now):
            self._report(self._label(bool(message.data), ""))

    def _is_echo(self, success: bool, now: float) -> bool:
        """Return whether this node hears itself: an older word would undo a newer one."""
        while self._published and now - self._published[0][1] >= ECHO:
            self._published.popleft()
        words = [word for word, _ in self._published]
        if success not in words:
            return False
        # Those before it were lost.
        for _ in range(words.index(success) + 1):
            self._published.popleft()
        return True

    def _receive_text(self, message: String, info: MessageInfo, now: float) -> None:
        words = message.data[:MAX_TEXT].split()
        if len(words) not in (1, 2) or words[-1] not in WORDS or len(message.data) > MAX_TEXT:
            self._report(
                f"a label is 'success' or 'failure', or that behind the name of a rollout, got "
                f"'{printable(message.data, MAX_SHOWN)}'"
            )
            return
        success, name = WORDS[words[-1]], words[0] if len(words) > 1 else ""
        problem = self._label(success, name)
        self._report(problem)
        results = self._results()
        if not problem and results is not None and name in ("", results.last_ended):
            self._repeat(success)

    def _label(self, success: bool, rollout: str) -> str:
        results = self._results()
        if results is None:
            return "the monitor is not configured, so no rollout has ended"
        return results.label(success, rollout)

    def _repeat(self, success: bool) -> None:
        if self._publisher is not None:
            self._published.append((success, time.monotonic()))
            self._publisher.publish(Bool(data=success))

    def _report(self, problem: str) -> None:
        now = time.monotonic()
        # Not left to the logger, which takes as long to drop a line as to take ten messages.
        if problem and now - self._reported_at >= LOG_PERIOD:
            self._reported_at = now
            self._node.get_logger().warning(f"a label is ignored: {problem}")
