# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Stop actions: ways to stop a policy and to resume it, one class for each kind.

None of them waits: each sends a request and reports the result when the answer comes, if ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.client import Client
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger

from failure_monitor.errors import UsageError
from failure_monitor.monitoring.response.escalation import StopResult

ReportStop = Callable[[StopResult, str], None]
"""Called with the result of a stop, and text about it."""
ReportResume = Callable[[bool, str], None]
"""Called with whether the policy was resumed, and text about it."""

LOCK_DEPTH = 1
"""Only the newest state of a lock is of use."""


class StopAction(ABC):
    """One way to stop a policy."""

    def __init__(self, node: Node) -> None:
        """Create on the node what the requests need."""
        self._node = node
        self._clients: list[Client] = []

    @abstractmethod
    def stop(self, report: ReportStop) -> None:
        """Request the stop; may be called again while there is no answer."""

    def resume(self, report: ReportResume) -> None:
        """Request to resume; called only after `StopResult.STOPPED` was reported."""
        raise NotImplementedError

    def update(self, permit: bool) -> None:  # noqa: B027
        """Publish what has to be repeated; called at every heartbeat."""

    @property
    def absence(self) -> str:
        """What is missing to send the request, as text; empty if nothing is."""
        return next(filter(None, map(self._absence, self._clients)), "")

    def _absence(self, client: Client) -> str:
        if client.service_is_ready():
            return ""
        return f"no node offers the service '{self._node.resolve_service_name(client.srv_name)}'"

    def _client(self, kind: type, name: str) -> Client:
        client = self._node.create_client(kind, name)
        self._clients.append(client)
        return client


class SetBoolService(StopAction):
    """A std_srvs/SetBool service, such as a pause."""

    def __init__(self, node: Node, service: str, stopping_value: bool) -> None:
        """Use a service that stops with `stopping_value` and resumes with its opposite."""
        super().__init__(node)
        self._service = self._client(SetBool, service)
        self._stopping_value = stopping_value

    def stop(self, report: ReportStop) -> None:
        """Call the service with the value that stops."""
        request = SetBool.Request(data=self._stopping_value)
        _call(self._service, request, lambda answer: report(_result(answer), answer.message))

    def resume(self, report: ReportResume) -> None:
        """Call the service with the opposite value."""
        request = SetBool.Request(data=not self._stopping_value)
        _call(self._service, request, lambda answer: report(answer.success, answer.message))


class TriggerService(StopAction):
    """A std_srvs/Trigger service that stops, and perhaps another one that resumes."""

    def __init__(self, node: Node, service: str, resume_service: str) -> None:
        """Use `service` to stop and `resume_service`, which may be empty, to resume."""
        super().__init__(node)
        self._service = self._client(Trigger, service)
        self._resume_service = None
        if resume_service:
            self._resume_service = node.create_client(Trigger, resume_service)

    def stop(self, report: ReportStop) -> None:
        """Call the service that stops."""
        stopped = StopResult.STOPPED if self._resume_service is not None else StopResult.AT_REST
        _call(
            self._service,
            Trigger.Request(),
            lambda answer: report(
                stopped if answer.success else StopResult.REFUSED, answer.message
            ),
        )

    def resume(self, report: ReportResume) -> None:
        """Call the service that resumes."""
        if self._resume_service is None:
            return
        if absence := self._absence(self._resume_service):
            report(False, absence)
        _call(
            self._resume_service,
            Trigger.Request(),
            lambda answer: report(answer.success, answer.message),
        )


class ManagedNode(StopAction):
    """A lifecycle node, which is deactivated, and activated again."""

    def __init__(self, node: Node, managed: str) -> None:
        """Use the lifecycle services of the node of that name."""
        super().__init__(node)
        self._managed = managed
        self._get_state = self._client(GetState, f"{managed}/get_state")
        self._change_state = self._client(ChangeState, f"{managed}/change_state")
        self._deactivated = False
        self._is_resuming = False

    def stop(self, report: ReportStop) -> None:
        """Deactivate the node if it is active, and verify that it no longer is."""
        if self._is_resuming:
            # Its state may be answered before it is activated, and would then be no proof.
            # Requests to one service are handled in order.
            self._deactivate(report)
        else:
            self._request_state(lambda state: self._stop_from(state, report))

    def resume(self, report: ReportResume) -> None:
        """Activate the node, and verify that it is active."""
        self._is_resuming = True
        self._request_transition(
            Transition.TRANSITION_ACTIVATE,
            lambda: self._request_state(lambda state: self._report_resume(state, report)),
        )

    def _stop_from(self, state: State, report: ReportStop) -> None:
        if state.id in (State.PRIMARY_STATE_ACTIVE, State.TRANSITION_STATE_ACTIVATING):
            self._deactivate(report)
        else:
            self._report_stop(state, report)

    def _deactivate(self, report: ReportStop) -> None:
        self._deactivated = True
        self._request_transition(
            Transition.TRANSITION_DEACTIVATE,
            lambda: self._request_state(lambda after: self._report_deactivation(after, report)),
        )

    def _report_deactivation(self, state: State, report: ReportStop) -> None:
        # Again: an answer to `resume` may have cleared it meanwhile.
        self._deactivated = True
        self._report_stop(state, report)

    def _report_stop(self, state: State, report: ReportStop) -> None:
        text = f"'{self._managed}' is {state.label}"
        if state.id == State.TRANSITION_STATE_DEACTIVATING:
            return
        if state.id == State.PRIMARY_STATE_ACTIVE:
            report(StopResult.REFUSED, f"{text} although it was told to deactivate")
        else:
            report(StopResult.STOPPED if self._deactivated else StopResult.AT_REST, text)

    def _report_resume(self, state: State, report: ReportResume) -> None:
        active = state.id == State.PRIMARY_STATE_ACTIVE
        self._deactivated = self._deactivated and not active
        self._is_resuming = False
        report(active, f"'{self._managed}' is {state.label}")

    def _request_state(self, then: Callable[[State], None]) -> None:
        _call(self._get_state, GetState.Request(), lambda answer: then(answer.current_state))

    def _request_transition(self, transition: int, then: Callable[[], None]) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        # The state shows whether it worked: a transition that is requested twice fails once.
        _call(self._change_state, request, lambda answer: then())


class ActionGoals(StopAction):
    """All goals of an action server, which are cancelled; they cannot be resumed."""

    def __init__(self, node: Node, action: str) -> None:
        """Use the action of that name.

        Raises:
            UsageError: the package action_msgs is not installed.
        """
        super().__init__(node)
        try:
            self._request = import_module("action_msgs.srv").CancelGoal
        except ImportError:
            raise UsageError(
                "cancelling goals needs the package action_msgs, which is not installed: install "
                "it, or choose another kind"
            ) from None
        self._cancel = self._client(self._request, f"{action}/_action/cancel_goal")

    def stop(self, report: ReportStop) -> None:
        """Cancel every goal, whatever its number and age."""
        _call(self._cancel, self._request.Request(), lambda answer: self._report(answer, report))

    def _report(self, answer: Any, report: ReportStop) -> None:
        if answer.return_code != self._request.Response.ERROR_NONE:
            report(StopResult.REFUSED, f"the goals are not cancelled (code {answer.return_code})")
        elif answer.goals_canceling:
            report(StopResult.AT_REST, f"cancels {len(answer.goals_canceling)} goals")
        else:
            # No proof: the policy may be about to send one.
            report(StopResult.SENT, "no goal to cancel")


class Lock(StopAction):
    """A lock as twist_mux has them: a Bool that is repeated, and whose absence locks as well.

    It publishes the opposite of the permit at every heartbeat, whether or not its turn has come.
    """

    def __init__(self, node: Node, topic: str) -> None:
        """Publish on this topic whether the robot is locked."""
        super().__init__(node)
        self._publisher = node.create_publisher(Bool, topic, LOCK_DEPTH)

    def stop(self, report: ReportStop) -> None:
        """Lock at once."""
        self._publisher.publish(Bool(data=True))
        if self._publisher.get_subscription_count():
            report(StopResult.SENT, f"locked on '{self._publisher.topic_name}'")

    def update(self, permit: bool) -> None:
        """Repeat whether the robot is locked."""
        self._publisher.publish(Bool(data=not permit))

    @property
    def absence(self) -> str:
        """That no node subscribes to the lock, as text; empty if one does."""
        if self._publisher.get_subscription_count():
            return ""
        return f"no node subscribes to '{self._publisher.topic_name}'"


def _result(answer: Any) -> StopResult:
    return StopResult.STOPPED if answer.success else StopResult.REFUSED


def _call(client: Client, request: Any, then: Callable[[Any], None]) -> None:
    """Send a request without waiting; `then` is called with the answer if one comes."""
    if not client.service_is_ready():
        return
    future = client.call_async(request)

    def on_done(future: Any) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        then(future.result())

    future.add_done_callback(on_done)
