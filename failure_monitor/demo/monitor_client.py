# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A client that has the monitor load bundles and starts and ends its rollouts."""

from __future__ import annotations

from pathlib import Path

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from failure_monitor.demo.remote_node import RemoteNode
from failure_monitor.errors import FailureMonitorError

TIMEOUT = 20.0
"""Seconds for an answer; configuring loads the bundle."""


class MonitorClient:
    """Calls the monitor's services and waits for the answers."""

    def __init__(self, node: Node, monitor: str = "failure_monitor") -> None:
        self._name = monitor
        self._monitor = RemoteNode(node, monitor)
        self._get_state = self._monitor.client(GetState, "get_state")
        self._change_state = self._monitor.client(ChangeState, "change_state")
        self._reset = self._monitor.client(Trigger, "reset")
        self._start = self._monitor.client(Trigger, "start_rollout")
        self._end = self._monitor.client(SetBool, "end_rollout")

    def load(self, bundle: Path) -> None:
        """Configure the monitor with a bundle and activate it, whatever state it is in."""
        self._transition_from(
            State.PRIMARY_STATE_ACTIVE, Transition.TRANSITION_DEACTIVATE, "deactivated"
        )
        self._transition_from(
            State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_CLEANUP, "cleaned up"
        )
        # Absolute: the monitor may have been started in another folder.
        self._monitor.set_parameters({"bundle": str(bundle.resolve())}, TIMEOUT)
        self._transition(Transition.TRANSITION_CONFIGURE, "configured")
        self._transition(Transition.TRANSITION_ACTIVATE, "activated")

    def end_rollout(self, success: bool) -> None:
        """End the rollout."""
        self._monitor.trigger(self._end, TIMEOUT, SetBool.Request(data=success))

    def start_rollout(self) -> None:
        """Reset a latched halt and start a rollout with the next decision."""
        self._monitor.trigger(self._reset, TIMEOUT)
        self._monitor.trigger(self._start, TIMEOUT)

    def reset(self) -> None:
        """Leave a latched halt."""
        self._monitor.trigger(self._reset, TIMEOUT)

    def _transition_from(self, state: int, transition: int, what: str) -> None:
        answer = self._monitor.call(self._get_state, GetState.Request(), TIMEOUT)
        if answer.current_state.id == state:
            self._transition(transition, what)

    def _transition(self, transition: int, what: str) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._monitor.call(self._change_state, request, TIMEOUT).success:
            raise FailureMonitorError(f"node '{self._name}' could not be {what}: see its output")
