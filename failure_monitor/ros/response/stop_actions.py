# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Stop actions: ways to stop a policy and to resume it, one class for each kind.

None of them waits: each sends a request and reports the result when the answer comes, if ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from typing import Any

from rclpy.client import Client
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger

from failure_monitor.errors import UsageError
from failure_monitor.monitoring.response.escalation import StopResult


class Resumption(Enum):
    """The result of resuming what a stop action stopped."""

    RESUMED = "resumed"
    """The policy goes on."""
    LEFT = "left as it is"
    """The policy is not in the state in which the action left it, so it is not resumed."""
    FAILED = "not resumed"
    """The policy does not go on, and may be resumed once more."""


ReportStop = Callable[[StopResult, str], None]
"""Called with the result of a stop, and text about it."""
ReportResume = Callable[[Resumption, str], None]
"""Called with the result of resuming, and text about it."""

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

    def release(self) -> None:  # noqa: B027
        """Request nothing further for the last stop; called when the halt ends."""

    def update(self, permit: bool) -> None:  # noqa: B027
        """Publish or request what has to be repeated; called at every heartbeat."""

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
        call(self._service, request, lambda answer: report(_result(answer), answer.message))

    def resume(self, report: ReportResume) -> None:
        """Call the service with the opposite value."""
        request = SetBool.Request(data=not self._stopping_value)
        call(self._service, request, lambda answer: report(_resumption(answer), answer.message))


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
        stopped = StopResult.ENDED if self._resume_service is None else StopResult.STOPPED
        call(
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
            report(Resumption.FAILED, absence)
        call(
            self._resume_service,
            Trigger.Request(),
            lambda answer: report(_resumption(answer), answer.message),
        )


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
        call(self._cancel, self._request.Request(), lambda answer: self._report(answer, report))

    def _report(self, answer: Any, report: ReportStop) -> None:
        if answer.return_code != self._request.Response.ERROR_NONE:
            report(StopResult.REFUSED, f"the goals are not cancelled (code {answer.return_code})")
        elif answer.goals_canceling:
            report(StopResult.ENDED, f"cancels {len(answer.goals_canceling)} goals")
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


def _resumption(answer: Any) -> Resumption:
    return Resumption.RESUMED if answer.success else Resumption.FAILED


def call(client: Client, request: Any, then: Callable[[Any], None]) -> bool:
    """Send a request without waiting; `then` is called with the answer if one comes.

    Returns:
        Whether it was sent: there must be somebody to send it to.
    """
    if not client.service_is_ready():
        return False
    future = client.call_async(request)

    def on_done(future: Any) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        then(future.result())

    future.add_done_callback(on_done)
    return True
