# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A scripted human who takes over from the policy, lifts the arm, lets go and hands back."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node
from std_msgs.msg import Bool, Float64MultiArray

from failure_monitor.demo.observer import Observer
from failure_monitor.demo.tasks import ACTION_NAMES
from failure_monitor.demo.timeline import SECOND, RolloutPlan, Timeline
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.parameters.topics import INTERVENTION_TOPIC
from failure_monitor.ros.common.qos import LATCHED_QOS

TAKES_OVER, LETS_GO = 1.0, 2.5
"""Seconds from the start of the rollout, at real time."""

LIFT = dict(zip(ACTION_NAMES, (0.0, 0.0, 0.5, -1.0), strict=True))
"""What the human commands: up, with an open gripper."""

COMMAND_PERIOD = 0.05
"""Seconds between two commands of the human."""

NOTICED = SECOND // 2
"""Nanoseconds within which even a busy machine has told the gate of the human."""

CELLS = 60
"""Characters of the picture's width."""

STATES = {
    AlarmState.NOMINAL: "n",
    AlarmState.CAUTION: "c",
    AlarmState.ALARM: "A",
    AlarmState.STALE: "·",
}


@dataclass(frozen=True)
class Takeover:
    """What became of a rollout in which a human took over.

    Attributes:
        timeline: the rollout.
        began: when the human took over.
        ended: when they let go.
    """

    timeline: Timeline
    began: int
    ended: int

    @property
    def was_open_meanwhile(self) -> bool:
        """Whether the gate was ever open to the policy once it knew of the human."""
        before = [change for change in self.timeline.gate if change.time < self.began + NOTICED]
        meanwhile = [c for c in self.timeline.gate if self.began + NOTICED <= c.time < self.ended]
        return any(change.is_open for change in (*before[-1:], *meanwhile))


class ScriptedHuman:
    """Watches a rollout and acts in it; what it commands goes where a multiplexer would."""

    def __init__(
        self, node: Node, hand_back: Callable[[], None], *, real_time_factor: float
    ) -> None:
        """Prepare to act.

        Args:
            node: the node that publishes.
            hand_back: resets the monitor.
            real_time_factor: simulated seconds per second.
        """
        self._hand_back = hand_back
        self._factor = real_time_factor
        self._says = node.create_publisher(Bool, INTERVENTION_TOPIC, LATCHED_QOS)
        self._commands = node.create_publisher(Float64MultiArray, "command", 10)
        self.began = self.ended = 0
        """When the human took over and let go, in nanoseconds; 0 before."""
        self._commanded = 0.0

    def watch(self, plan: RolloutPlan, observer: Observer) -> None:
        """Do what is to be done at this moment of a rollout."""
        if not observer.observed.active:
            return
        now = time.time_ns()
        seconds = self._factor * (now - observer.observed.active[0][0]) / SECOND
        if not self.began and seconds >= TAKES_OVER:
            self.began = now
            self._says.publish(Bool(data=True))
        elif self.began and not self.ended and seconds < LETS_GO:
            if time.monotonic() - self._commanded >= COMMAND_PERIOD:
                self._commanded = time.monotonic()
                self._commands.publish(Float64MultiArray(data=array("d", LIFT.values())))
        elif self.began and not self.ended:
            self._says.publish(Bool(data=False))
            self.ended = time.time_ns()
            self._hand_back()


def takeover_picture(takeover: Takeover) -> list[str]:
    """Return lines of text that show who had the robot, and what the monitor said."""
    timeline = takeover.timeline
    step = (timeline.end - timeline.begin) / CELLS
    moments = [timeline.begin + (cell + 0.5) * step for cell in range(CELLS)]

    def states(moment: float) -> str:
        before = [reading for reading in timeline.readings if reading.time <= moment]
        return STATES[before[-1].state] if before else " "

    def gate(moment: float) -> str:
        before = [change for change in timeline.gate if change.time <= moment]
        return "█" if before and before[-1].is_open else "·"

    def human(moment: float) -> str:
        return "█" if takeover.began <= moment < takeover.ended else "·"

    return [
        f"A human took over after {timeline.seconds(takeover.began):.1f} s and let go after "
        f"{timeline.seconds(takeover.ended):.1f} s of {timeline.duration:.1f} s",
        f"human      {''.join(map(human, moments))}",
        f"gate open  {''.join(map(gate, moments))}",
        f"monitor    {''.join(map(states, moments))}",
        "           n nominal, c caution, A alarm, · nothing is permitted (STALE)",
        "What the policy does once it was handed back is watched from 0: in the middle of the "
        "task, an alarm is likely",
    ]
