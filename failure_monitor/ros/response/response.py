# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor does about an alarm beyond publishing it and withdrawing the permit."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.decision import Decision, Verdict
from failure_monitor.monitoring.alarm import Alarm, AlarmStatus
from failure_monitor.monitoring.response.table import ALLOWED, Reaction, ResponseTable
from failure_monitor.parameters.parameter import without_effect
from failure_monitor.parameters.response import ReactionParameters, ResponseParameters
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.services import Rejection, accept
from failure_monitor.ros.response.steering import Steering
from failure_monitor.ros.response.stop_menu import load_stop_menu
from failure_monitor.ros.response.stop_sequence import StopSequence


class Response:
    """Stops the policy by the stop menu, and steers it, as the parameters say."""

    def __init__(self, node: Node, *, rejection: Rejection = accept) -> None:
        """Declare the parameters, and create what they name.

        Args:
            node: the node.
            rejection: returns why `~/resume` is rejected at this moment, whatever it is asked.

        Raises:
            UsageError: they do not make sense; the message names the parameter.
        """
        self._settings = load_parameters(node, ResponseParameters)
        self._stop_sequence = StopSequence(node, load_stop_menu(node), rejection=rejection)
        self._steering = Steering(node, self._settings)

    def alarm(self, max_decision_age: float) -> Alarm:
        """Return an alarm that follows the response table."""
        reactions = self._settings.reactions
        return Alarm(
            max_decision_age=max_decision_age,
            table=_table(reactions),
            trigger=reactions.trigger_count,
            release=reactions.release_count,
        )

    @property
    def parameters_without_effect(self) -> list[str]:
        """A sentence for each parameter that was given and has no effect."""
        return without_effect(self._settings, self._settings.idle)

    def inform(self, alarm: Alarm) -> None:
        """Tell the alarm what stops and what slows the policy; called before its state is read."""
        alarm.set_stopped(self._stop_sequence.stopped_by)
        alarm.set_slowed(self._steering.has_subscriber)

    @property
    def stopped(self) -> tuple[str, ...]:
        """The names of the stop actions that stopped something, until it is resumed."""
        return self._stop_sequence.stopped

    def restore(self, stopped: Sequence[str]) -> None:
        """Offer to resume what the monitor before this one has stopped, by the actions' names."""
        self._stop_sequence.restore(stopped)

    def why_stopping(self) -> str:
        """Return what the stop sequence still waits for; empty if it does not."""
        name = self._stop_sequence.waiting_for
        return f"the policy is still being stopped: no answer of '{name}' yet" if name else ""

    def open(self, bundle: Bundle) -> None:
        """Steer by what a bundle holds.

        Raises:
            UsageError: it does not hold what the parameters ask for.
        """
        self._steering.open(bundle)

    def update(self, status: AlarmStatus, verdict: Verdict | None) -> None:
        """Act on the state of the alarm; called at every heartbeat."""
        self._stop_sequence.update(
            permit=status.permit, halted=status.halted, stops=status.reaction == Reaction.HALT
        )
        self._steering.publish_speed_scale(status, verdict)

    def advise(self, decision: Decision, stamp: int, task: str, status: AlarmStatus) -> None:
        """Steer by a decision that was scored: see `Steering.advise`."""
        self._steering.advise(decision, stamp, task, status)

    def values(self) -> dict[str, str]:
        """Return what was done to stop the policy and what came of it, for the alarm's values."""
        return self._stop_sequence.values()


def _table(reactions: ReactionParameters) -> ResponseTable:
    names = {state: getattr(reactions, state) for state in ALLOWED}
    return ResponseTable.from_names(names, max_replans=reactions.most_replans)
