# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The stop action that deactivates a lifecycle node, and activates it again.

A node of rclpy ends when a transition is requested that its state does not have. So the state is
requested first, one transition is requested at a time, and none when the answer has come too late.

Only what this monitor deactivated is activated again. A node that was started again since, or that
its operator deactivated, is not: the state is requested again and again, and what is not known to
have stayed inactive is left as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

from failure_monitor.monitoring.response.escalation import StopResult
from failure_monitor.ros.response.stop_actions import (
    ReportResume,
    ReportStop,
    Resumption,
    StopAction,
    call,
)

WATCH_PERIOD = 0.25
"""Seconds between two requests for the state of a node that was deactivated."""

PATIENCE = 5.0
"""Seconds after which an answer is not expected any more, and is of no effect if it comes."""

_ACTIVE = (State.PRIMARY_STATE_ACTIVE, State.TRANSITION_STATE_ACTIVATING)


class ManagedNode(StopAction):
    """A lifecycle node, which is deactivated, and activated again."""

    def __init__(self, node: Node, managed: str) -> None:
        """Use the lifecycle services of the node of that name."""
        super().__init__(node)
        self._managed = managed
        self._get_state = self._client(GetState, f"{managed}/get_state")
        self._change_state = self._client(ChangeState, f"{managed}/change_state")
        self._stop: ReportStop | None = None
        self._resumed_at = -PATIENCE
        self._changed_at = -PATIENCE
        self._deactivated = False
        self._asked: dict[int, float] = {}
        self._questions = 0
        self._watched_at = 0.0

    # What is requested

    def stop(self, report: ReportStop) -> None:
        """Deactivate the node if it is active, and verify that it no longer is."""
        self._stop = report
        self._request_state(self._stop_from)

    def release(self) -> None:
        """Deactivate the node no more if it answers late."""
        self._stop = None

    def resume(self, report: ReportResume) -> None:
        """Activate the node if this action deactivated it, and verify that it is active."""
        self._stop = None
        now = time.monotonic()
        if now - self._resumed_at < PATIENCE or self._is_changing:
            return
        self._resumed_at = now
        self._request_state(lambda state: self._resume_from(state, now, report))

    def update(self, permit: bool) -> None:
        """Watch whether the node stays as it was left."""
        now = time.monotonic()
        if not self._deactivated:
            return
        if self.absence or any(now - asked > PATIENCE for asked in self._asked.values()):
            self._deactivated = False
        elif not self._asked and now - self._watched_at > WATCH_PERIOD:
            self._watched_at = now
            self._request_state(lambda state: None)

    # What becomes of it

    @property
    def _is_changing(self) -> bool:
        """Whether a transition was requested that may still be carried out."""
        return time.monotonic() - self._changed_at < PATIENCE

    def _stop_from(self, state: State) -> None:
        report = self._stop
        if report is None or state.id == State.TRANSITION_STATE_DEACTIVATING or self._is_changing:
            # A transition that may still be carried out makes any state no proof; its answer leads
            # back here.
            return
        if state.id in _ACTIVE:
            self._request_transition(
                Transition.TRANSITION_DEACTIVATE,
                lambda success: self._request_state(
                    lambda after: self._on_deactivated(report, after, success=success)
                ),
            )
        else:
            self._report_stop(report, state)

    def _on_deactivated(self, report: ReportStop, state: State, *, success: bool) -> None:
        self._deactivated = success and state.id == State.PRIMARY_STATE_INACTIVE
        self._report_stop(report, state)

    def _report_stop(self, report: ReportStop, state: State) -> None:
        text = f"'{self._managed}' is {state.label}"
        if state.id in _ACTIVE:
            report(StopResult.REFUSED, f"{text} although it was told to deactivate")
        else:
            report(StopResult.STOPPED if self._deactivated else StopResult.AT_REST, text)

    def _resume_from(self, state: State, since: float, report: ReportResume) -> None:
        text = f"'{self._managed}' is {state.label}"
        is_late = time.monotonic() - since > PATIENCE
        if state.id in _ACTIVE:
            self._resumed_at = -PATIENCE
            report(Resumption.RESUMED, text)
        elif self._stop is not None or is_late:
            report(Resumption.FAILED, f"{text}, and answered too late: call ~/resume again")
        elif not self._deactivated:
            self._resumed_at = -PATIENCE
            report(Resumption.LEFT, f"{text}, and was not always so since it was stopped")
        else:
            self._request_transition(
                Transition.TRANSITION_ACTIVATE, lambda success: self._on_activated(report)
            )

    def _on_activated(self, report: ReportResume) -> None:
        def verify(state: State) -> None:
            self._resumed_at = -PATIENCE
            is_active = state.id == State.PRIMARY_STATE_ACTIVE
            self._deactivated = self._deactivated and not is_active
            report(
                Resumption.RESUMED if is_active else Resumption.FAILED,
                f"'{self._managed}' is {state.label}",
            )

        self._request_state(verify)
        if self._stop is not None:
            # A halt has begun meanwhile.
            self._request_state(self._stop_from)

    def _request_state(self, then: Callable[[State], None]) -> None:
        self._questions += 1
        number = self._questions

        def on_answer(answer: GetState.Response) -> None:
            # A node answers in order: one that leaves out a question is not the one it was put to.
            if any(earlier < number for earlier in self._asked):
                self._deactivated = False
            self._asked = {other: when for other, when in self._asked.items() if other > number}
            state: State = answer.current_state
            self._deactivated = self._deactivated and state.id == State.PRIMARY_STATE_INACTIVE
            then(state)

        if call(self._get_state, GetState.Request(), on_answer):
            self._asked[number] = time.monotonic()

    def _request_transition(self, transition: int, then: Callable[[bool], None]) -> None:
        self._changed_at = time.monotonic()

        def on_answer(answer: ChangeState.Response) -> None:
            self._changed_at = -PATIENCE
            then(answer.success)

        request = ChangeState.Request(transition=Transition(id=transition))
        if not call(self._change_state, request, on_answer):
            self._changed_at = -PATIENCE
