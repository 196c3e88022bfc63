# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Halting: beyond the permit, the policy itself is stopped by what the menu names.

The means are asked in order until one is known to stand; whoever does not answer in time is given
up and the next one is asked. Nothing here waits, so nothing that hangs can hang the monitor.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rclpy.node import Node
from std_srvs.srv import Trigger

from failure_monitor.monitoring.response.escalation import Escalation, Step, StopResult
from failure_monitor.ros.response.stop_actions import HaltMeans


@dataclass(frozen=True, eq=False)
class MenuEntry:
    """One entry of the menu.

    Attributes:
        name: the user's.
        means: what is asked.
        timeout: seconds to wait for its answer.
    """

    name: str
    means: HaltMeans
    timeout: float


class Halting:
    """Stops the policy while the alarm is halted, and offers to undo that afterwards."""

    def __init__(self, node: Node, menu: Sequence[MenuEntry]) -> None:
        """Take a menu, in order; the service `~/resume` is offered if there is anything on it."""
        self._menu = {entry.name: entry for entry in menu}
        self._escalation = Escalation([Step(entry.name, entry.timeout) for entry in menu])
        self._logger = node.get_logger()
        self._logged: dict[str, str] = {}
        self._asked_at = 0.0
        self._requests = 0
        if menu:
            node.create_service(Trigger, "~/resume", self._on_resume)

    def beat(self, *, permit: bool, halted: bool) -> None:
        """Begin, go on with or end a halt; called at every heartbeat."""
        now = time.monotonic()
        if not halted:
            self._escalation.release()
        elif not self._escalation.is_halted:
            self._ask(self._escalation.halt(now))
        for entry in self._menu.values():
            entry.means.beat(permit)
        self._wait(now)
        self._log()

    def values(self) -> dict[str, str]:
        """What was tried, what answered and what did not, in words, for the alarm."""
        return self._escalation.report()

    def _ask(self, name: str) -> None:
        if name:
            self._asked_at, self._requests = time.monotonic(), 0
            self._request(self._menu[name])

    def _request(self, entry: MenuEntry) -> None:
        self._requests += not entry.means.absence
        entry.means.stop(partial(self._take, entry.name, self._escalation.halts))

    def _wait(self, now: float) -> None:
        """Ask once more who may not have heard, and give up on who is not there or hangs."""
        name = self._escalation.waiting_for
        if not name:
            return
        entry, passed = self._menu[name], now - self._asked_at
        if passed >= entry.timeout and (absence := entry.means.absence):
            self._take(name, self._escalation.halts, StopResult.SILENT, absence)
        elif passed >= entry.timeout:
            self._ask(self._escalation.tick(now))
        elif not entry.means.absence and self._requests < 1 + (2 * passed >= entry.timeout):
            self._request(entry)

    def _take(self, name: str, halt: int, outcome: StopResult, words: str) -> None:
        self._ask(
            self._escalation.receive_answer(name, outcome, words, time.monotonic(), halt=halt)
        )

    def _on_resume(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._escalation.is_halted:
            response.message = "halted: call ~/reset first"
            return response
        # What was stopped last goes on first.
        names = self._escalation.stopped[::-1]
        absent = {name: absence for name in names if (absence := self._menu[name].means.absence)}
        for name in names:
            resumed = partial(self._take_resumed, name)
            if name in absent:
                resumed(False, f"still stopped: {absent[name]}")
            else:
                self._escalation.receive_resumption(
                    name, "asked to go on; no answer yet", success=False
                )
                self._menu[name].means.resume(resumed)
        response.success = not absent
        response.message = "; ".join(absent.values()) or (
            f"asked {', '.join(names)} to go on; ~/alarm tells what comes of it"
            if names
            else "nothing was stopped"
        )
        return response

    def _take_resumed(self, name: str, success: bool, words: str) -> None:
        said = "goes on" if success else "does not go on"
        self._escalation.receive_resumption(name, f"{said}: {words}", success=success)

    def _log(self) -> None:
        report = self.values()
        for name, words in report.items():
            if words != self._logged.get(name, words):
                self._logger.info(f"{name}: {words}")
        self._logged = report
