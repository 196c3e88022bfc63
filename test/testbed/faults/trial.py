# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A fault is caused; the gate must close in time, give the reason, and let nothing pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from testbed.faults.cell import (
    COMMAND_PERIOD,
    DWELL,
    HEARTBEAT,
    LEASE,
    MAX_DECISION_AGE,
    POLICY_PERIOD,
    SLACK,
    Cell,
)

WITHIN_LEASE = LEASE + COMMAND_PERIOD
"""Seconds until the gate is closed where permits cease."""

WITHDRAWN = HEARTBEAT + COMMAND_PERIOD
"""Seconds until it is closed where the monitor sees at its next heartbeat that it must be."""

MISSED = MAX_DECISION_AGE + WITHDRAWN
"""Seconds until it is closed where decisions cease, or what they are made of."""

SCORED = POLICY_PERIOD + WITHDRAWN
"""Seconds until it is closed by the next decision."""

SILENT = "no permit on 'failure_monitor/permit' for 0.2 s"
"""The gate's reason where the monitor has gone."""

WITHHELD = "the monitor withholds its permit on 'failure_monitor/permit'"
"""The gate's reason where it has not."""


@dataclass
class Fault:
    """A row of the table.

    Attributes:
        name: what is broken.
        promised: seconds within which the gate is closed.
        cell: in which it is broken.
        delays: seconds from the fault to the closed gate, of every trial.
        passed: commands that the gate let through once it was closed.
        recovered: trials after which commands passed again.
    """

    name: str
    promised: float = WITHIN_LEASE
    cell: Cell = field(repr=False, kw_only=True)
    delays: list[float] = field(default_factory=list)
    passed: int = 0
    recovered: int = 0

    def closes(
        self,
        cause: Callable[[], object],
        *,
        gate_reason: str,
        state: str = "",
        monitor_reason: str = "",
        since: Callable[[], float] | None = None,
    ) -> None:
        """Break something while commands pass, and see the gate close.

        Args:
            cause: breaks it.
            gate_reason: part of the gate's reason.
            state: of the alarm; empty where the monitor cannot know.
            monitor_reason: part of the monitor's reason.
            since: when it was broken, if that is later than the cause; 0 until it is.
        """
        cell = self.cell
        begin = time.time()
        cause()
        closed = cell.wait_for(
            lambda: cell.closed_at(begin, gate_reason),
            f"the gate to close and say '{gate_reason}'",
        )
        if since is not None:
            begin = cell.wait_for(since, "the fault's begin")
        self.delays.append(closed - begin)
        assert closed - begin < self.promised + SLACK
        self._wait_for_reasons(gate_reason, state, monitor_reason)
        self._stay_closed(closed, DWELL)

    def halts_until_reset(self, script: str, *, state: str, monitor_reason: str) -> None:
        """Let the policy follow a script until the gate closes, and then decide well again.

        Nothing passes and nothing is reset while the cause persists, nor without a reset after it.
        """
        self.closes(
            lambda: self.cell.follow(script),
            gate_reason=WITHHELD,
            state=state,
            monitor_reason=monitor_reason,
        )
        assert not self.cell.reset().success
        self.cell.follow("nominal")
        self.stays_closed(
            0.5, gate_reason=WITHHELD, state=state, monitor_reason="the cause is gone"
        )
        self.recovers(by_reset=True)

    def stays_closed(
        self, seconds: float, *, gate_reason: str, state: str = "", monitor_reason: str = ""
    ) -> None:
        """Check that nothing passes for a while, with the reasons of `closes`."""
        begin = time.time()
        self._wait_for_reasons(gate_reason, state, monitor_reason)
        self._stay_closed(begin, seconds)

    def _wait_for_reasons(self, gate_reason: str, state: str, monitor_reason: str) -> None:
        cell = self.cell
        cell.wait_for(
            lambda: gate_reason in cell.gate_state.reason, f"the gate to say '{gate_reason}'"
        )
        if state:
            cell.wait_for(
                lambda: cell.alarm.state == state and monitor_reason in cell.alarm.reason,
                f"the monitor to say '{state}: {monitor_reason}'",
            )

    def _stay_closed(self, since: float, seconds: float) -> None:
        time.sleep(seconds)
        passed = self.cell.passed_after(since)
        self.passed += passed
        assert self.cell.gate_state.state == "closed"
        assert passed == 0

    def stays_open(self, seconds: float) -> None:
        """Check that commands go on to pass: what is broken does not matter."""
        begin = time.time()
        time.sleep(seconds)
        assert self.cell.closed_at(begin) == 0.0
        assert self.cell.passed_after(begin) > 0.5 * seconds / COMMAND_PERIOD

    def recovers(self, *, by_reset: bool, monitor: str = "failure_monitor") -> None:
        """Wait until commands pass again, after a reset of a monitor's halt or by themselves."""
        if by_reset:
            self.cell.reset_until_moving(monitor)
        else:
            self.cell.wait_until_moving()
        self.recovered += 1

    def cells(self) -> tuple[str, ...]:
        """Return the row as the table shows it."""
        worst = f"{max(self.delays):.3f} s" if self.delays else "-"
        return (
            self.name,
            str(max(len(self.delays), 1)),
            worst,
            f"{self.promised:.3f} s" if self.delays else "-",
            str(self.passed),
            f"{self.recovered}",
        )
