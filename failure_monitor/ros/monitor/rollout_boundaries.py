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

from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic


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

    def receive_decision(self, now: float) -> None:
        """Receive a decision; start a rollout if it is the first of one."""

    def update(self, now: float) -> None:
        """End the rollout if its time is over."""

    def problems(self) -> Sequence[str]:
        """Return what is wrong with the source of the boundaries."""
        return ()

    def destroy(self) -> None:
        """Destroy the subscription, if there is one."""


class PauseBoundaries(RolloutBoundaries):
    """Rollouts that end after a time without decisions, and start with the next decision."""

    def __init__(self, rollouts: Rollouts, pause: float) -> None:
        """Wait for the first decision.

        Args:
            rollouts: what is ended.
            pause: the time without decisions, in seconds.
        """
        super().__init__("no rollout is running: the next decision starts one")
        self._rollouts = rollouts
        self._pause = pause
        self._last_decision: float | None = None

    def receive_decision(self, now: float) -> None:
        """Receive a decision; start a rollout if there was none for a pause."""
        last, self._last_decision = self._last_decision, now
        if last is None or now - last > self._pause:
            self._rollouts.start_rollout("", by_decision=True)

    def update(self, now: float) -> None:
        """End the rollout after a pause."""
        if self._last_decision is not None and now - self._last_decision > self._pause:
            self._last_decision = None
            self._rollouts.end_rollout(
                f"no rollout is running: {self._pause:g} s without a decision ended it, and the "
                "next decision starts one"
            )


class TopicBoundaries(RolloutBoundaries):
    """Rollouts whose start, task and end are published on a topic; repetitions change nothing."""

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
        self._topic = MonitoredTopic(node, message, topic, callback, DECISION_QOS)
        super().__init__(f"no rollout is running: no start was received on '{self._topic.name}'")
        self._rollouts = rollouts
        self._running: bool | str = False

    def problems(self) -> Sequence[str]:
        """Return that several publishers may contradict each other, if there are several."""
        problem = self._topic.contradiction()
        return (problem,) if problem else ()

    def destroy(self) -> None:
        """Destroy the subscription, if there is one."""
        self._topic.destroy()

    def _on_active(self, message: Bool) -> None:
        self._on_report(message.data, "")

    def _on_task(self, message: String) -> None:
        self._on_report(message.data, message.data)

    def _on_report(self, running: bool | str, task: str) -> None:
        if running == self._running:
            return
        self._running = running
        if running:
            self._rollouts.start_rollout(task)
        else:
            self._rollouts.end_rollout(f"no rollout is running, as '{self._topic.name}' reports")


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
