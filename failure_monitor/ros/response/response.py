# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All that the monitor does about an alarm, beyond telling it and withdrawing the permit."""

from __future__ import annotations

from rclpy.node import Node

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.decision import Decision, Verdict
from failure_monitor.monitoring.alarm import Alarm, AlarmStatus
from failure_monitor.monitoring.response.table import ALLOWED, ResponseTable
from failure_monitor.parameters.response import ReactionParameters, ResponseParameters
from failure_monitor.ros.common.parameters import load_parameters, reject_unknown
from failure_monitor.ros.response.steering import Advice, Steering
from failure_monitor.ros.response.stop_menu import declare_menu
from failure_monitor.ros.response.stop_sequence import Halting


class Response:
    """Halts the policy by the menu, and steers it, as the parameters say."""

    def __init__(self, node: Node) -> None:
        """Declare the parameters, and make what they name.

        Raises:
            UsageError: they make no sense; the message names the parameter.
        """
        self._settings = load_parameters(node, ResponseParameters)
        reject_unknown(node, self._settings)
        self._halting = Halting(node, declare_menu(node))
        self._steering = Steering(node, self._settings)

    def alarm(self, max_decision_age: float) -> Alarm:
        """An alarm that is answered by the response table."""
        reactions = self._settings.reactions
        return Alarm(
            max_decision_age=max_decision_age,
            table=_table(reactions),
            trigger=reactions.trigger_count,
            release=reactions.release_count,
        )

    def open(self, bundle: Bundle) -> None:
        """Steer by what a bundle knows.

        Raises:
            UsageError: it does not know what the parameters ask for.
        """
        self._steering.open(bundle)

    def beat(self, status: AlarmStatus, verdict: Verdict | None) -> None:
        """Have the state of the alarm acted on; called at every heartbeat."""
        self._halting.beat(permit=status.permit, halted=status.halted)
        self._steering.beat(status, verdict)

    def advise(self, decision: Decision, stamp: int, task: str, status: AlarmStatus) -> Advice:
        """Steer by a decision that was judged: see `Steering.advise`."""
        return self._steering.advise(decision, stamp, task, status)

    def values(self) -> dict[str, str]:
        """What was tried to halt the policy and what came of it, for the alarm's values."""
        return self._halting.values()


def _table(reactions: ReactionParameters) -> ResponseTable:
    names = {state: getattr(reactions, state) for state in ALLOWED}
    return ResponseTable.from_names(names, max_replans=reactions.most_replans)
