# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The means of a halting menu: what can be asked to stop a policy, and to go on again.

None of them waits: each asks, and tells what came of it when the answer is there, if ever.
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

Tell = Callable[[StopResult, str], None]
"""What came of asking to stop, in words."""
TellResumed = Callable[[bool, str], None]
"""Whether it goes on again, in words."""

LOCK_DEPTH = 1
"""Only the newest state of a lock is of use."""


class HaltMeans(ABC):
    """One thing that can be asked to stop, by a name of the user's."""

    def __init__(self, node: Node) -> None:
        """Make what is needed to ask, on the node."""
        self._node = node
        self._clients: list[Client] = []

    @abstractmethod
    def stop(self, tell: Tell) -> None:
        """Ask to stop; may be called again while there is no answer."""

    def resume(self, tell: TellResumed) -> None:
        """Ask to go on. Only what told `StopResult.STOPPED` is asked."""
        raise NotImplementedError

    def beat(self, permit: bool) -> None:  # noqa: B027
        """Called at every heartbeat; for what has to be told all the time."""

    @property
    def absence(self) -> str:
        """Who is not there to be asked, in words; empty if all are."""
        return next(filter(None, map(self._absence, self._clients)), "")

    def destroy(self) -> None:
        """Take from the node what was made on it."""
        for client in self._clients:
            self._node.destroy_client(client)

    def _absence(self, client: Client) -> str:
        if client.service_is_ready():
            return ""
        return f"nobody offers the service '{self._node.resolve_service_name(client.srv_name)}'"

    def _client(self, kind: type, name: str) -> Client:
        client = self._node.create_client(kind, name)
        self._clients.append(client)
        return client


class SetBoolService(HaltMeans):
    """A std_srvs/SetBool service, such as a pause."""

    def __init__(self, node: Node, service: str, stopping_value: bool) -> None:
        """Ask this service with `stopping_value` to stop, with its opposite to go on."""
        super().__init__(node)
        self._service = self._client(SetBool, service)
        self._stopping_value = stopping_value

    def stop(self, tell: Tell) -> None:
        """Ask with the value that stops."""
        request = SetBool.Request(data=self._stopping_value)
        _ask(self._service, request, lambda answer: tell(_stopped(answer), answer.message))

    def resume(self, tell: TellResumed) -> None:
        """Ask with the opposite value."""
        request = SetBool.Request(data=not self._stopping_value)
        _ask(self._service, request, lambda answer: tell(answer.success, answer.message))


class TriggerService(HaltMeans):
    """A std_srvs/Trigger service that stops, and perhaps another one that goes on."""

    def __init__(self, node: Node, service: str, resume_service: str) -> None:
        """Ask `service` to stop; `resume_service`, which may be empty, to go on."""
        super().__init__(node)
        self._service = self._client(Trigger, service)
        self._resume_service = None
        if resume_service:
            self._resume_service = node.create_client(Trigger, resume_service)

    def stop(self, tell: Tell) -> None:
        """Trigger the stop."""
        stopped = StopResult.STOPPED if self._resume_service is not None else StopResult.AT_REST
        _ask(
            self._service,
            Trigger.Request(),
            lambda answer: tell(stopped if answer.success else StopResult.REFUSED, answer.message),
        )

    def resume(self, tell: TellResumed) -> None:
        """Trigger what goes on."""
        if self._resume_service is None:
            return
        if absence := self._absence(self._resume_service):
            tell(False, absence)
        _ask(
            self._resume_service,
            Trigger.Request(),
            lambda answer: tell(answer.success, answer.message),
        )

    def destroy(self) -> None:
        """Also the client that goes on."""
        super().destroy()
        if self._resume_service is not None:
            self._node.destroy_client(self._resume_service)


class LifecycleNode(HaltMeans):
    """A lifecycle node, which is deactivated, and activated again."""

    def __init__(self, node: Node, managed: str) -> None:
        """Deactivate the node of that name."""
        super().__init__(node)
        self._managed = managed
        self._get_state = self._client(GetState, f"{managed}/get_state")
        self._change_state = self._client(ChangeState, f"{managed}/change_state")
        self._deactivated = False
        self._is_resuming = False

    def stop(self, tell: Tell) -> None:
        """Deactivate it if it is active, and look whether it is so no longer."""
        if self._is_resuming:
            # Its state may be told before it is activated, and would then be no proof. What is
            # asked of one service is done in order.
            self._deactivate(tell)
        else:
            self._ask_state(lambda state: self._stop_from(state, tell))

    def resume(self, tell: TellResumed) -> None:
        """Activate it, and look whether it is active."""
        self._is_resuming = True
        self._change(
            Transition.TRANSITION_ACTIVATE,
            lambda: self._ask_state(lambda state: self._look_resumed(state, tell)),
        )

    def _stop_from(self, state: State, tell: Tell) -> None:
        if state.id in (State.PRIMARY_STATE_ACTIVE, State.TRANSITION_STATE_ACTIVATING):
            self._deactivate(tell)
        else:
            self._look_stopped(state, tell)

    def _deactivate(self, tell: Tell) -> None:
        self._deactivated = True
        self._change(
            Transition.TRANSITION_DEACTIVATE,
            lambda: self._ask_state(lambda after: self._look_deactivated(after, tell)),
        )

    def _look_deactivated(self, state: State, tell: Tell) -> None:
        # Again: that it was active when it was to go on may have been told meanwhile.
        self._deactivated = True
        self._look_stopped(state, tell)

    def _look_stopped(self, state: State, tell: Tell) -> None:
        words = f"'{self._managed}' is {state.label}"
        if state.id == State.TRANSITION_STATE_DEACTIVATING:
            return
        if state.id == State.PRIMARY_STATE_ACTIVE:
            tell(StopResult.REFUSED, f"{words} although it was told to deactivate")
        else:
            tell(StopResult.STOPPED if self._deactivated else StopResult.AT_REST, words)

    def _look_resumed(self, state: State, tell: TellResumed) -> None:
        active = state.id == State.PRIMARY_STATE_ACTIVE
        self._deactivated = self._deactivated and not active
        self._is_resuming = False
        tell(active, f"'{self._managed}' is {state.label}")

    def _ask_state(self, then: Callable[[State], None]) -> None:
        _ask(self._get_state, GetState.Request(), lambda answer: then(answer.current_state))

    def _change(self, transition: int, then: Callable[[], None]) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        # Whether it worked, the state tells: a transition asked for twice fails once.
        _ask(self._change_state, request, lambda answer: then())


class ActionGoals(HaltMeans):
    """All goals of an action server, which are cancelled; there is no way back."""

    def __init__(self, node: Node, action: str) -> None:
        """Cancel the goals of that action.

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

    def stop(self, tell: Tell) -> None:
        """Cancel every goal, whatever its number and age."""
        _ask(self._cancel, self._request.Request(), lambda answer: self._take(answer, tell))

    def _take(self, answer: Any, tell: Tell) -> None:
        if answer.return_code != self._request.Response.ERROR_NONE:
            tell(StopResult.REFUSED, f"the goals are not cancelled (code {answer.return_code})")
        elif answer.goals_canceling:
            tell(StopResult.AT_REST, f"cancels {len(answer.goals_canceling)} goals")
        else:
            # No proof: the policy may be about to send one.
            tell(StopResult.SENT, "no goal to cancel")


class Lock(HaltMeans):
    """A lock as twist_mux has them: a Bool that is repeated, and locks by its silence too.

    It says the opposite of the permit at every heartbeat, whether or not its turn has come.
    """

    def __init__(self, node: Node, topic: str) -> None:
        """Publish on this topic whether the robot is locked."""
        super().__init__(node)
        self._publisher = node.create_publisher(Bool, topic, LOCK_DEPTH)

    def stop(self, tell: Tell) -> None:
        """Lock at once."""
        self._publisher.publish(Bool(data=True))
        if self._publisher.get_subscription_count():
            tell(StopResult.SENT, f"locked on '{self._publisher.topic_name}'")

    def beat(self, permit: bool) -> None:
        """Repeat whether it is locked."""
        self._publisher.publish(Bool(data=not permit))

    @property
    def absence(self) -> str:
        """That nobody listens to the lock."""
        if self._publisher.get_subscription_count():
            return ""
        return f"nobody listens to '{self._publisher.topic_name}'"

    def destroy(self) -> None:
        """Take the lock away, which locks as well."""
        self._node.destroy_publisher(self._publisher)


def _stopped(answer: Any) -> StopResult:
    return StopResult.STOPPED if answer.success else StopResult.REFUSED


def _ask(client: Client, request: Any, then: Callable[[Any], None]) -> None:
    """Send a request and go on; `then` is called with the answer if one comes."""
    if not client.service_is_ready():
        return
    future = client.call_async(request)

    def take(future: Any) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        then(future.result())

    future.add_done_callback(take)
