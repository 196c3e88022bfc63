# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The stop sequence: beyond the permit, the policy itself is stopped by the actions of a menu.

The actions are requested in order until one is known to have stopped the policy. One that does not
answer in time is given up, and the next one is requested. While the halt lasts, one that appears
late is requested as soon as it is there, and none is given up for good. Nothing here waits, so
that nothing that hangs can make the monitor hang.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rclpy.node import Node

from failure_monitor.monitoring.response.escalation import Escalation, Step, StopResult
from failure_monitor.ros.common.services import Answer, Rejection, accept, offer_trigger
from failure_monitor.ros.response.stop_actions import Resumption, StopAction

REPEAT_PERIOD = 2.0
"""Seconds between two requests of what has not stopped the policy, while nothing has."""


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

    def __init__(
        self, node: Node, menu: Sequence[StopMenuEntry], *, rejection: Rejection = accept
    ) -> None:
        """Use a menu, in order; the service `~/resume` is offered unless the menu is empty.

        Args:
            node: the node.
            menu: the actions.
            rejection: returns why `~/resume` is rejected at this moment, whatever it is asked.
        """
        self._menu = {entry.name: entry for entry in menu}
        self._escalation = Escalation([Step(entry.name, entry.timeout) for entry in menu])
        self._logger = node.get_logger()
        self._logged: dict[str, str] = {}
        self._started_at = 0.0
        self._requests = 0
        self._absent: set[str] = set()
        self._repeated_at = 0.0
        self._is_halted = False
        if menu:
            offer_trigger(node, "~/resume", self._on_resume, rejection=rejection)

    @property
    def waiting_for(self) -> str:
        """The name of the action that has yet to answer; empty for none."""
        return self._escalation.waiting_for

    @property
    def stopped_by(self) -> str:
        """The name of an action that keeps the policy from deciding; empty for none."""
        return self._escalation.stopped_by

    @property
    def stopped(self) -> tuple[str, ...]:
        """The names of the actions that stopped something, until it is resumed."""
        return tuple(self._escalation.stopped)

    def restore(self, stopped: Sequence[str]) -> None:
        """Offer to resume what the monitor before this one has stopped.

        Args:
            stopped: the names of its actions; those of another menu are ignored.
        """
        known = [name for name in stopped if name in self._menu]
        self._escalation.stopped[:] = known

    def update(self, *, permit: bool, halted: bool, stops: bool) -> None:
        """Start, continue or end a stop; called at every heartbeat.

        Args:
            permit: whether commands may pass.
            halted: whether a halt lasts, in which nothing is resumed.
            stops: whether it is one of which the policy is to be stopped.
        """
        now = time.monotonic()
        self._is_halted = halted
        if stops and not self._escalation.is_halted:
            self._absent.clear()
            self._repeated_at = now
            self._start(self._escalation.halt(now))
        elif not stops and self._escalation.is_halted:
            self._escalation.release()
            for entry in self._menu.values():
                entry.action.release()
        for entry in self._menu.values():
            entry.action.update(permit)
        self._follow_up(now)
        self._repeat(now)
        self._log_changes()

    def values(self) -> dict[str, str]:
        """Return what was requested and what came of it, as text by name, for the alarm."""
        report = self._escalation.report()
        if self._menu and self._is_halted and not self._escalation.is_halted:
            report["halting"] = "halted before the monitor started; nothing is requested for it"
        return report

    def _start(self, name: str) -> None:
        if name:
            self._started_at, self._requests = time.monotonic(), 0
            self._request(self._menu[name])

    def _request(self, entry: StopMenuEntry) -> None:
        if not entry.action.absence:
            self._requests += 1
            self._absent.discard(entry.name)
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

    def _repeat(self, now: float) -> None:
        """Request what has appeared since and, as long as nothing stands still, what did not obey.

        A policy that was started again has appeared since, and is not stopped.
        """
        for name in self._escalation.tried:
            entry = self._menu[name]
            if entry.action.absence:
                self._absent.add(name)
            elif name in self._absent and self._escalation.retry(name, now):
                self._start(name)
        is_due = now - self._repeated_at >= REPEAT_PERIOD
        if is_due and not self._escalation.has_proof and not self._escalation.waiting_for:
            self._repeated_at = now
            for name in self._escalation.tried:
                self._request(self._menu[name])

    def _on_result(self, name: str, halt: int, result: StopResult, text: str) -> None:
        self._start(
            self._escalation.receive_answer(name, result, text, time.monotonic(), halt=halt)
        )

    def _on_resume(self) -> Answer:
        if self._is_halted:
            return Answer(False, "halted: call ~/reset first")
        # What was stopped last is resumed first.
        names = self._escalation.stopped[::-1]
        absent = {name: absence for name in names if (absence := self._menu[name].action.absence)}
        for name in names:
            report = partial(self._on_resume_result, name)
            if name in absent:
                report(Resumption.FAILED, absent[name])
            else:
                self._escalation.receive_resumption(
                    name, "resume requested; no answer yet", success=False
                )
                self._menu[name].action.resume(report)
        message = f"requested {', '.join(names)} to resume; ~/alarm reports the result"
        return Answer(
            not absent,
            "; ".join(absent.values()) or (message if names else "nothing was stopped"),
        )

    def _on_resume_result(self, name: str, result: Resumption, text: str) -> None:
        self._escalation.receive_resumption(
            name, f"{result.value}: {text}", success=result != Resumption.FAILED
        )

    def _log_changes(self) -> None:
        report = self.values()
        for name, text in report.items():
            if text != self._logged.get(name, text):
                self._logger.info(f"{name}: {text}")
        self._logged = report
