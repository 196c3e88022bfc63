# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The stop sequence: beyond the permit, the policy itself is stopped by the actions of a menu.

The actions are requested in order until one is known to have stopped the policy. One that does not
answer in time is given up, and the next one is requested. Nothing here waits, so that nothing that
hangs can make the monitor hang.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rclpy.node import Node
from std_srvs.srv import Trigger

from failure_monitor.monitoring.response.escalation import Escalation, Step, StopResult
from failure_monitor.ros.response.stop_actions import StopAction


@dataclass(frozen=True, eq=False)
class StopMenuEntry:
    """One entry of the stop menu.

    Attributes:
        name: the user's name for it.
        action: the action to request.
        timeout: seconds to wait for its answer.
    """

    name: str
    action: StopAction
    timeout: float


class StopSequence:
    """Stops the policy while the alarm is halted, and offers to resume it afterwards."""

    def __init__(self, node: Node, menu: Sequence[StopMenuEntry]) -> None:
        """Use a menu, in order; the service `~/resume` is offered unless the menu is empty."""
        self._menu = {entry.name: entry for entry in menu}
        self._escalation = Escalation([Step(entry.name, entry.timeout) for entry in menu])
        self._logger = node.get_logger()
        self._logged: dict[str, str] = {}
        self._started_at = 0.0
        self._requests = 0
        if menu:
            node.create_service(Trigger, "~/resume", self._on_resume)

    def update(self, *, permit: bool, halted: bool) -> None:
        """Start, continue or end a halt; called at every heartbeat."""
        now = time.monotonic()
        if not halted:
            self._escalation.release()
        elif not self._escalation.is_halted:
            self._start(self._escalation.halt(now))
        for entry in self._menu.values():
            entry.action.update(permit)
        self._follow_up(now)
        self._log_changes()

    def values(self) -> dict[str, str]:
        """Return what was requested and what came of it, as text by name, for the alarm."""
        return self._escalation.report()

    def _start(self, name: str) -> None:
        if name:
            self._started_at, self._requests = time.monotonic(), 0
            self._request(self._menu[name])

    def _request(self, entry: StopMenuEntry) -> None:
        self._requests += not entry.action.absence
        entry.action.stop(partial(self._on_result, entry.name, self._escalation.halts))

    def _follow_up(self, now: float) -> None:
        """Repeat a request that may have been lost; give up on what is absent or hangs."""
        name = self._escalation.waiting_for
        if not name:
            return
        entry, passed = self._menu[name], now - self._started_at
        if passed >= entry.timeout and (absence := entry.action.absence):
            self._on_result(name, self._escalation.halts, StopResult.SILENT, absence)
        elif passed >= entry.timeout:
            self._start(self._escalation.tick(now))
        elif not entry.action.absence and self._requests < 1 + (2 * passed >= entry.timeout):
            self._request(entry)

    def _on_result(self, name: str, halt: int, result: StopResult, text: str) -> None:
        self._start(
            self._escalation.receive_answer(name, result, text, time.monotonic(), halt=halt)
        )

    def _on_resume(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._escalation.is_halted:
            response.message = "halted: call ~/reset first"
            return response
        # What was stopped last is resumed first.
        names = self._escalation.stopped[::-1]
        absent = {name: absence for name in names if (absence := self._menu[name].action.absence)}
        for name in names:
            report = partial(self._on_resume_result, name)
            if name in absent:
                report(False, f"still stopped: {absent[name]}")
            else:
                self._escalation.receive_resumption(
                    name, "resume requested; no answer yet", success=False
                )
                self._menu[name].action.resume(report)
        response.success = not absent
        response.message = "; ".join(absent.values()) or (
            f"requested {', '.join(names)} to resume; ~/alarm reports the result"
            if names
            else "nothing was stopped"
        )
        return response

    def _on_resume_result(self, name: str, success: bool, text: str) -> None:
        result = "resumed" if success else "not resumed"
        self._escalation.receive_resumption(name, f"{result}: {text}", success=success)

    def _log_changes(self) -> None:
        report = self.values()
        for name, text in report.items():
            if text != self._logged.get(name, text):
                self._logger.info(f"{name}: {text}")
        self._logged = report
