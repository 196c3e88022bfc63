# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What starts and ends rollouts, as the parameter `rollout_boundaries` says.

The services ~/start_rollout and ~/end_rollout exist in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rclpy.node import Node
from std_msgs.msg import Bool, String

from failure_monitor.monitoring.rollout_reports import RolloutReports, RolloutStart
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.message_info import MessageInfo, sequence_number, with_info
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic

MIN_DECISIONS = 2
"""Number of decisions that a rollout has at least, if pauses tell rollouts apart."""


class Rollouts(Protocol):
    """What is started and ended."""

    def start_rollout(self, task: str, *, by_decision: bool = False) -> None:
        """Start a rollout of a task; the name is empty where it is unknown.

        Args:
            task: its name.
            by_decision: whether the decision that is being received starts it.
        """

    def end_rollout(self, reason: str) -> None:
        """End the rollout, for the reason why none runs."""


class RolloutBoundaries:
    """The services only, and perhaps the monitor's activation.

    Attributes:
        why_not_started: why activation does not start a rollout; empty if it does.
    """

    def __init__(self, why_not_started: str) -> None:
        self.why_not_started = why_not_started

    def receive_decision(self, now: float, *, is_first: bool) -> None:
        """Receive a decision; start a rollout if it is the first of one.

        Args:
            now: the time.
            is_first: whether its publisher has certainly made none before.
        """

    def update(self, now: float, *, is_policy_there: bool) -> None:
        """End the rollout if its time is over; called at every heartbeat.

        Args:
            now: the time.
            is_policy_there: whether decisions that are made would be received.
        """

    def set_running(self, is_running: bool, now: float) -> None:
        """Record that a rollout was started or ended, by whatever means."""

    def problems(self) -> Sequence[str]:
        """Return what is wrong with the source of the boundaries."""
        return ()

    def destroy(self) -> None:
        """Destroy the subscription, if there is one."""


class PauseBoundaries(RolloutBoundaries):
    """Rollouts that end after a time without decisions, and start with the next decision.

    A decision starts a rollout only after a pause that was seen: else others may have been made
    before it.
    """

    def __init__(self, rollouts: Rollouts, pause: float) -> None:
        """Wait for a pause.

        Args:
            rollouts: what is started and ended.
            pause: the time without decisions, in seconds.
        """
        super().__init__(
            f"no rollout is running: after {pause:g} s without a decision the next decision "
            "starts one"
        )
        self._rollouts = rollouts
        self._pause = pause
        self._is_running = False
        self._silent_since: float | None = None
        """Since when no decision was made; None while that is unknown."""
        self._decisions = 0
        self._had_one_decision = False
        self._has_missed_start = False

    def receive_decision(self, now: float, *, is_first: bool) -> None:
        """Receive a decision; start a rollout if there was none for a pause."""
        if not self._is_running:
            if is_first or self._was_silent(now):
                self._rollouts.start_rollout("", by_decision=True)
            else:
                self._miss_start()
        self._silent_since = now
        self._decisions += 1

    def _was_silent(self, now: float) -> bool:
        return self._silent_since is not None and now - self._silent_since > self._pause

    def _miss_start(self) -> None:
        if not self._has_missed_start:
            self._has_missed_start = True
            self._rollouts.end_rollout(
                "no rollout is running: decisions come whose rollout has started already; after "
                f"{self._pause:g} s without a decision the next one starts a rollout"
            )

    def update(self, now: float, *, is_policy_there: bool) -> None:
        """End the rollout after a pause."""
        if self._is_running:
            if self._was_silent(now):
                self._rollouts.end_rollout(
                    f"no rollout is running: {self._pause:g} s without a decision ended it, and "
                    "the next decision starts one"
                )
                self._had_one_decision = self._decisions < MIN_DECISIONS
        elif not is_policy_there:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now

    def set_running(self, is_running: bool, now: float) -> None:
        """Record that a rollout was started or ended, perhaps by a service."""
        if is_running:
            self._silent_since = now
            self._decisions = 0
            self._has_missed_start = False
        else:
            self._had_one_decision = False
        self._is_running = is_running

    def problems(self) -> Sequence[str]:
        """Return that the policy decides so seldom that each decision starts a rollout."""
        if not (self._is_running and self._had_one_decision and self._decisions < MIN_DECISIONS):
            return ()
        return (
            "the last rollout had a single decision: the policy decides more seldom than every "
            f"{self._pause:g} s, so that its decisions are taken for starts of rollouts; make "
            "rollout_pause longer, or set rollout_boundaries to service or topic",
        )


class TopicBoundaries(RolloutBoundaries):
    """Rollouts whose start, task and end are published on a topic.

    Repetitions change nothing. A rollout whose start was not received is not watched.
    """

    def __init__(self, node: Node, rollouts: Rollouts, topic: str, message_type: str) -> None:
        """Wait for the first message.

        Args:
            node: the node that subscribes.
            rollouts: what is started and ended.
            topic: the topic.
            message_type: `std_msgs/msg/Bool` or `std_msgs/msg/String`.
        """
        message, callback = (
            (Bool, self._on_active) if message_type.endswith("Bool") else (String, self._on_task)
        )
        # Not transient local: a rollout that was reported before has already started.
        self._topic = MonitoredTopic(node, message, topic, with_info(callback), DECISION_QOS)
        super().__init__(f"no rollout is running: no start was received on '{self._topic.name}'")
        self._rollouts = rollouts
        self._reports = RolloutReports()

    def problems(self) -> Sequence[str]:
        """Return that several publishers may contradict each other, if there are several."""
        problem = self._topic.contradiction()
        return (problem,) if problem else ()

    def destroy(self) -> None:
        """Destroy the subscription, if there is one."""
        self._topic.destroy()

    def _on_active(self, message: Bool, info: MessageInfo) -> None:
        self._on_report(bool(message.data), info)

    def _on_task(self, message: String, info: MessageInfo) -> None:
        self._on_report(str(message.data), info)

    def _on_report(self, report: bool | str, info: MessageInfo) -> None:
        change = self._reports.update(report, sequence_number(info))
        if isinstance(change, RolloutStart):
            self._rollouts.start_rollout(change.task)
        elif change is not None:
            self._rollouts.end_rollout(
                f"no rollout is running: on '{self._topic.name}' {change.why}"
                if change.why
                else f"no rollout is running, as '{self._topic.name}' reports"
            )


def open_boundaries(
    node: Node, settings: MonitorParameters, rollouts: Rollouts
) -> RolloutBoundaries:
    """Return the boundaries that the parameters name."""
    if settings.rollout_boundaries == "topic":
        return TopicBoundaries(node, rollouts, settings.rollout_topic, settings.rollout_topic_type)
    if settings.rollout_boundaries == "pause":
        return PauseBoundaries(rollouts, settings.rollout_pause)
    if settings.rollout_boundaries == "service":
        return RolloutBoundaries("no rollout is running; call ~/start_rollout")
    return RolloutBoundaries("")
