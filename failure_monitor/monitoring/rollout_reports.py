# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What reports of a running rollout mean: whether its start was received, or it is under way.

A report is true or the name of a task while a rollout runs, and false or empty while none does. It
may be repeated. The middleware numbers the messages of each publisher from 1. A gap in the numbers
means that another publisher reports, or that reports were lost: then a rollout may have ended and
another one may be under way.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 1
"""The number of a publisher's first message."""


@dataclass(frozen=True)
class RolloutStart:
    """A rollout starts now.

    Attributes:
        task: its task; empty where it is unknown.
    """

    task: str


@dataclass(frozen=True)
class RolloutEnd:
    """No rollout is known to run.

    Attributes:
        why: why not, as a clause; empty where that is what was reported.
    """

    why: str


CHANGED = (
    "the publisher changed or reports were lost, so that another rollout may be under way: let it "
    "report an end, and then the start of the next rollout"
)
UNDER_WAY = (
    "a rollout is reported whose start was not received: let its end be reported, and then the "
    "start of the next rollout"
)


class RolloutReports:
    """The reports of one topic, in the order of their arrival."""

    def __init__(self) -> None:
        self._running: bool | str = False
        self._number: int | None = None
        self._awaits_end = False

    def update(self, report: bool | str, number: int | None) -> RolloutStart | RolloutEnd | None:
        """Receive a report; return what it changes.

        Args:
            report: whether a rollout runs, or of which task.
            number: the message's number among those of its publisher; None if it is unknown.
        """
        before, self._number = self._number, number
        follows = number is None or (before is not None and number == before + 1)
        if not report:
            return self._end()
        if self._awaits_end:
            return None
        if self._running:
            return self._go_on(report) if follows else self._await_end(CHANGED)
        if follows or number == FIRST:
            self._running = report
            return RolloutStart(_task(report))
        return self._await_end(UNDER_WAY)

    def _end(self) -> RolloutEnd | None:
        had_started, self._running = bool(self._running), False
        was_awaited, self._awaits_end = self._awaits_end, False
        return RolloutEnd("") if had_started or was_awaited else None

    def _go_on(self, report: bool | str) -> RolloutStart | None:
        if report == self._running:
            return None
        self._running = report
        return RolloutStart(_task(report))

    def _await_end(self, why: str) -> RolloutEnd:
        self._running, self._awaits_end = False, True
        return RolloutEnd(why)


def _task(report: bool | str) -> str:
    return report if isinstance(report, str) else ""
