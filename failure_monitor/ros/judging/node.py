# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The judge node: asks an OpenAI-compatible service by HTTP how rollouts ended.

It is no part of the monitor's process. All that comes back is one number of each rollout, with
the rollout's name, on a topic that the monitor reads when it has nothing else to do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import String

from failure_monitor.errors import FailureMonitorError
from failure_monitor.judges.chat_client import ChatClient, address_of, key_in_environment
from failure_monitor.judges.chat_question import number_in, question_body
from failure_monitor.parameters.judge import JudgeParameters
from failure_monitor.parameters.topics import judge_answer_topic
from failure_monitor.rollout_log.record import start_of
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_SUBSCRIPTION_QOS
from failure_monitor.ros.common.queue_worker import QueueWorker
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.judging.last_frames import LastFrames

MAX_WAITING = 8
"""Number of rollouts that wait while the model is asked of another."""

MAX_TASK = 500
"""Characters of a task's name."""


@dataclass(frozen=True)
class _Question:
    """A rollout of which the model is to be asked."""

    rollout: str
    task: str
    frames: Sequence[bytes]


class JudgeNode(Node):
    """Asks of every rollout that the monitor says has ended."""

    def __init__(self) -> None:
        super().__init__("failure_monitor_judge")
        self._settings = settings = load_parameters(self, JudgeParameters, has_no_others=True)
        address = address_of(settings.url)
        key = key_in_environment(settings.api_key_variable, address)
        self._client = ChatClient(address, key, settings.timeout)
        self._ended = ""
        self._question: _Question | None = None
        """Of the rollout that ended last, as long as it is not asked."""
        self._has_heard = False
        self._began = time.time()
        self._frames: LastFrames | None = None
        sent = "text alone leaves this machine"
        if settings.send_pictures:
            self._frames = LastFrames(
                self,
                settings.camera_topic,
                count=settings.pictures,
                period=settings.picture_period,
            )
            sent = f"pictures of '{self.resolve_topic_name(settings.camera_topic)}' leave this "
            sent += "machine" if address.is_encrypted or address.is_here else "machine unencrypted"
        self._publisher = self.create_publisher(
            String, judge_answer_topic(settings.judge), DECISION_QOS
        )
        self._worker: QueueWorker[_Question] = QueueWorker(
            "question",
            self._ask,
            capacity=MAX_WAITING,
            on_error=self._on_error,
            on_drop=lambda question: self._log_failure(question.rollout, "too many wait"),
        )
        self.create_subscription(
            DiagnosticStatus, settings.outcome_topic, self._on_outcome, LATCHED_SUBSCRIPTION_QOS
        )
        self.get_logger().info(f"asks {address.host} about rollouts; {sent}")

    def _on_outcome(self, message: DiagnosticStatus) -> None:
        values = read_key_values(message.values)
        rollout, is_first = values.get("rollout", ""), not self._has_heard
        self._has_heard = True
        if values.get("ended") != "true":
            return
        if rollout != self._ended:
            self._ended = rollout
            # What ended before this node was there has left no pictures.
            is_known = not is_first or (start_of(rollout) or 0.0) > self._began
            self._question = self._question_about(rollout, values) if is_known else None
        # Success may be claimed later.
        if self._question is not None and self._is_wanted(values):
            self._worker.submit(self._question)
            self._question = None

    def _question_about(self, rollout: str, values: Mapping[str, str]) -> _Question:
        frames = () if self._frames is None else self._frames.take()
        return _Question(rollout, values.get("task", "")[:MAX_TASK], frames)

    def _is_wanted(self, values: Mapping[str, str]) -> bool:
        return self._settings.rollouts == "all" or values.get("claim") == "success"

    def _ask(self, question: _Question) -> None:
        """Ask of a rollout and publish the answer; called on a thread."""
        began = time.monotonic()
        try:
            value = number_in(self._client.complete(self._body(question)))
        except FailureMonitorError as error:
            self._log_failure(question.rollout, str(error))
            return
        answer = {"rollout": question.rollout, "value": value}
        self._publisher.publish(String(data=json.dumps(answer)))
        self.get_logger().info(
            f"rollout '{question.rollout}': {value:g}, after {time.monotonic() - began:.1f} s"
        )

    def _body(self, question: _Question) -> bytes:
        settings = self._settings
        pictures = [
            self._frames.jpeg(frame, settings.picture_width)
            for frame in question.frames
            if self._frames is not None
        ]
        if self._frames is not None and not pictures:
            raise FailureMonitorError(
                f"no picture has come on '{settings.camera_topic}' before its end"
            )
        text = settings.question.replace("{task}", question.task or "not named")
        return question_body(settings.model, text, pictures)

    def _on_error(self, error: Exception) -> None:
        # Its kind alone: what it says may repeat what was sent.
        self.get_logger().error(f"a rollout has no number: {type(error).__name__}")

    def _log_failure(self, rollout: str, why: str) -> None:
        self.get_logger().warning(f"rollout '{rollout}' has no number: {why}")


def main() -> None:
    """Run the node."""
    run_node(JudgeNode)


if __name__ == "__main__":
    main()
