# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A client that has the monitor load bundles and starts and ends its rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from failure_monitor.demo.parameter_client import ParameterClient
from failure_monitor.errors import FailureMonitorError

TIMEOUT = 20.0
"""Seconds for an answer; configuring loads the bundle."""


class MonitorClient:
    """Calls the monitor's services and waits for the answers."""

    def __init__(self, node: Node, monitor: str = "failure_monitor") -> None:
        self._node = node
        self._monitor = monitor
        self._parameters = ParameterClient(node, monitor)
        self._get_state = node.create_client(GetState, f"{monitor}/get_state")
        self._change_state = node.create_client(ChangeState, f"{monitor}/change_state")
        self._reset = node.create_client(Trigger, f"{monitor}/reset")
        self._start = node.create_client(Trigger, f"{monitor}/start_rollout")
        self._end = node.create_client(SetBool, f"{monitor}/end_rollout")

    def load(self, bundle: Path) -> None:
        """Configure the monitor with a bundle and activate it, whatever state it is in."""
        self._transition_from(
            State.PRIMARY_STATE_ACTIVE, Transition.TRANSITION_DEACTIVATE, "deactivated"
        )
        self._transition_from(
            State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_CLEANUP, "cleaned up"
        )
        # Absolute: the monitor may have been started in another folder.
        self._set_bundle(str(bundle.resolve()))
        self._transition(Transition.TRANSITION_CONFIGURE, "configured")
        self._transition(Transition.TRANSITION_ACTIVATE, "activated")

    def end_rollout(self, success: bool) -> None:
        """End the rollout."""
        self._expect(self._end, SetBool.Request(data=success))

    def start_rollout(self) -> None:
        """Reset a latched halt and start a rollout with the next decision."""
        self._expect(self._reset, Trigger.Request())
        self._expect(self._start, Trigger.Request())

    def _set_bundle(self, folder: str) -> None:
        if not self._parameters.wait_for_services(TIMEOUT):
            raise self._silence()
        answer = self._result(self._parameters.set_parameters([Parameter("bundle", value=folder)]))
        if not answer.results[0].successful:
            raise FailureMonitorError(
                f"node '{self._monitor}' rejects the bundle {folder}: {answer.results[0].reason}"
            )

    def _transition_from(self, state: int, transition: int, what: str) -> None:
        if self._call(self._get_state, GetState.Request()).current_state.id == state:
            self._transition(transition, what)

    def _transition(self, transition: int, what: str) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._call(self._change_state, request).success:
            raise FailureMonitorError(f"node '{self._monitor}' could not be {what}: see its output")

    def _expect(self, client: Any, request: Any) -> None:
        answer = self._call(client, request)
        if not answer.success:
            raise FailureMonitorError(f"'{client.srv_name}' was rejected: {answer.message}")

    def _call(self, client: Any, request: Any) -> Any:
        if not client.wait_for_service(TIMEOUT):
            raise self._silence()
        return self._result(client.call_async(request))

    def _result(self, future: Any) -> Any:
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=TIMEOUT)
        if not future.done():
            raise self._silence()
        return future.result()

    def _silence(self) -> FailureMonitorError:
        return FailureMonitorError(
            f"node '{self._monitor}' has not answered within {TIMEOUT:.0f} s: see its output, and "
            "that it runs on the same ROS_DOMAIN_ID"
        )
