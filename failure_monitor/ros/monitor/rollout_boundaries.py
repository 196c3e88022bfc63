# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""When rollouts begin and end, as the parameter `rollout_boundaries` says.

The services ~/start_rollout and ~/end_rollout are there in any case.
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
    """What begins and ends."""

    def start_rollout(self, task: str) -> None:
        """A rollout of a task begins; the name is empty where nobody says it."""

    def end_rollout(self, reason: str) -> None:
        """The rollout is over, and why none runs."""


class RolloutBoundaries:
    """Nothing but the services, and perhaps the monitor's activation.

    Attributes:
        why_none_yet: why activation begins no rollout; empty if it does.
    """

    def __init__(self, why_none_yet: str) -> None:
        self.why_none_yet = why_none_yet

    def begins_with_decision(self, now: float) -> bool:
        """Take a decision; whether it is the first of a rollout."""
        return False

    def pass_time(self, now: float) -> None:
        """Perhaps the rollout is over."""

    def problems(self) -> Sequence[str]:
        """What is amiss with what tells the boundaries."""
        return ()

    def destroy(self) -> None:
        """Stop listening."""


class PauseBoundaries(RolloutBoundaries):
    """A time without decisions ends a rollout; the next decision begins one."""

    def __init__(self, rollouts: Rollouts, pause: float) -> None:
        """Wait for the first decision.

        Args:
            rollouts: told of an end.
            pause: how long it is, in seconds.
        """
        super().__init__("no rollout is running: the next decision begins one")
        self._rollouts = rollouts
        self._pause = pause
        self._last_decision: float | None = None

    def begins_with_decision(self, now: float) -> bool:
        """Take a decision; whether there was none for a pause."""
        last, self._last_decision = self._last_decision, now
        return last is None or now - last > self._pause

    def pass_time(self, now: float) -> None:
        """End the rollout after a pause."""
        if self._last_decision is not None and now - self._last_decision > self._pause:
            self._last_decision = None
            self._rollouts.end_rollout(
                f"no rollout is running: {self._pause:g} s without a decision have ended it, and "
                "the next decision begins one"
            )


class TopicBoundaries(RolloutBoundaries):
    """A topic says whether a rollout runs, or which task's; what it repeats changes nothing."""

    def __init__(self, node: Node, rollouts: Rollouts, topic: str, message_type: str) -> None:
        """Wait for the first message.

        Args:
            node: subscribes.
            rollouts: told of what begins and ends.
            topic: where to listen.
            message_type: `std_msgs/msg/Bool` or `std_msgs/msg/String`.
        """
        message, callback = (
            (Bool, self._on_active) if message_type.endswith("Bool") else (String, self._on_task)
        )
        # Not transient local: what was said before this node listened began before it listened.
        self._topic = MonitoredTopic(node, message, topic, callback, DECISION_QOS)
        super().__init__(
            f"no rollout is running: '{self._topic.name}' has not said that one begins"
        )
        self._rollouts = rollouts
        self._said: bool | str = False

    def problems(self) -> Sequence[str]:
        """Whether several publishers contradict each other."""
        told = self._topic.contradiction()
        return (told,) if told else ()

    def destroy(self) -> None:
        """Stop listening."""
        self._topic.destroy()

    def _on_active(self, message: Bool) -> None:
        self._take(message.data, "")

    def _on_task(self, message: String) -> None:
        self._take(message.data, message.data)

    def _take(self, said: bool | str, task: str) -> None:
        if said == self._said:
            return
        self._said = said
        if said:
            self._rollouts.start_rollout(task)
        else:
            self._rollouts.end_rollout(f"no rollout is running, says '{self._topic.name}'")


def open_boundaries(
    node: Node, settings: MonitorParameters, rollouts: Rollouts
) -> RolloutBoundaries:
    """The boundaries that the parameters ask for."""
    if settings.rollout_boundaries == "topic":
        return TopicBoundaries(node, rollouts, settings.rollout_topic, settings.rollout_topic_type)
    if settings.rollout_boundaries == "pause":
        return PauseBoundaries(rollouts, settings.rollout_pause)
    if settings.rollout_boundaries == "service":
        return RolloutBoundaries("no rollout is running; call ~/start_rollout")
    return RolloutBoundaries("")
