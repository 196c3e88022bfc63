# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers of outside judges: of rollouts that have ended, and of nothing else.

A judge may be slow, absent, wrong or hostile. Its messages are collected after a heartbeat, a few
at a time and as the bytes that came: none wakes the node, none that is long is decoded, and
nothing that decides about the robot looks at them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message
from std_msgs.msg import Float64, String

from failure_monitor.errors import FailureMonitorError
from failure_monitor.judges.judge import CalibratedJudge
from failure_monitor.judges.judge_file import load_judge
from failure_monitor.parameters.topics import EXTERNAL_NAME, judge_answer_topic, judge_topic
from failure_monitor.ros.common.collected_subscription import Collected, collect
from failure_monitor.ros.common.message_info import MessageInfo
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.monitor.rollout_results import RolloutResults

MAX_BYTES = 1000
"""Bytes of a message of a judge, serialised."""

Receiver = Callable[[str, bytes, float], str]
"""Receives a message of a judge by its name, and when it came; returns why it is ignored."""

LOG_PERIOD = 1.0
"""Seconds between two answers that are logged: there may be a flood of them."""


@dataclass(frozen=True)
class Judges:
    """The judges that the parameters name.

    Attributes:
        by_name: each judge; None for one that is not calibrated, whose numbers are kept.
        problems: why others are missing, a sentence for each.
    """

    by_name: Mapping[str, CalibratedJudge | None] = field(default_factory=dict)
    problems: Sequence[str] = ()


def load_judges(entries: Sequence[str]) -> Judges:
    """Load the judges of the parameter `judges`: files, or names of ones not calibrated.

    What is wrong with a file is a problem, and no error: the robot needs no judge.
    """
    known: dict[str, CalibratedJudge | None] = {}
    problems = []
    for entry in filter(None, entries):
        try:
            judge = None if re.fullmatch(EXTERNAL_NAME, entry) else load_judge(Path(entry))
        except FailureMonitorError as error:
            problems.append(str(error))
            continue
        name = entry if judge is None else judge.name
        if name in known:
            problems.append(f"two judges are called '{name}': the first counts")
        else:
            known[name] = judge
    return Judges(known, problems)


class JudgeInput:
    """Receives the numbers of judges."""

    def __init__(
        self, node: Node, names: Sequence[str], results: Callable[[], RolloutResults | None]
    ) -> None:
        """Subscribe to both topics of every judge.

        Args:
            node: the node.
            names: the names of the judges.
            results: returns what keeps numbers.
        """
        self._node = node
        self._results = results
        self._subscriptions = [
            (
                node.create_subscription(
                    kind, topic(name), _nothing, DECISION_QOS, callback_group=Collected(), raw=True
                ),
                name,
                receive,
            )
            for name in names
            for kind, topic, receive in (
                (Float64, judge_topic, self._receive_number),
                (String, judge_answer_topic, self._receive_answer),
            )
        ]

    def collect(self) -> None:
        """Receive what was said since the last call; called after heartbeats."""
        for subscription, name, receive in self._subscriptions:
            collect(
                self._node, subscription, DECISION_QOS.depth, partial(self._handle, name, receive)
            )

    def destroy(self) -> None:
        """Destroy the subscriptions."""
        for subscription, _, _ in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _handle(
        self, name: str, receive: Receiver, message: bytes, info: MessageInfo, now: float
    ) -> None:
        problem = f"it has {len(message)} bytes, expected at most {MAX_BYTES}"
        if len(message) <= MAX_BYTES:
            try:
                problem = receive(name, message, now)
            except Exception:
                # Whatever bytes raise when they are decoded must not become an error of the node.
                problem = "it cannot be read"
        if problem:
            self._node.get_logger().warning(
                f"an answer of the judge '{name}' is ignored: {problem}",
                throttle_duration_sec=LOG_PERIOD,
            )

    def _receive_number(self, name: str, message: bytes, now: float) -> str:
        """Receive a plain number, which is of the rollout that had ended when it came."""
        results = self._results()
        if results is None:
            return ""
        rollout = results.ended_at(now)
        if not rollout:
            return (
                "a rollout runs, or none has run yet: a number without a rollout's name counts "
                "between the end of one and the start of the next"
            )
        value = float(deserialize_message(message, Float64).data)
        return results.record_judge(rollout, name, value)

    def _receive_answer(self, name: str, message: bytes, now: float) -> str:
        """Receive a number with the name of its rollout."""
        results = self._results()
        if results is None:
            return ""
        answer = _answer(deserialize_message(message, String).data)
        if answer is None:
            return 'expected {"rollout": "the name in ~/outcome", "value": 0.5}'
        return results.record_judge(answer[0], name, answer[1])


def _nothing(message: Any) -> None:
    """Do nothing: messages are collected."""


def _answer(text: str) -> tuple[str, float] | None:
    """Return the rollout and the number of an answer; None if it is none."""
    try:
        # Whole numbers of any length are read in no time as floating-point ones.
        content = json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.keys() != {"rollout", "value"}:
        return None
    rollout, value = content["rollout"], content["value"]
    if not isinstance(rollout, str) or not isinstance(value, float):
        return None
    return rollout, value
