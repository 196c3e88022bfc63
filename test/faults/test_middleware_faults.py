# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""On a middleware without QoS events the gate closes in the same times, by its own clock."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from testbed.faults import without_qos_events
from testbed.faults.cell import GATE, MONITOR, Cell
from testbed.faults.trial import MISSED, SCORED, SILENT, WITHHELD, Fault

pytestmark = [pytest.mark.ros, pytest.mark.alone, pytest.mark.law(2)]

KILLS = 3
MIDDLEWARE = "no QoS events (as on Zenoh): "


class CellWithoutEvents(Cell):
    """A cell whose monitor and gate are told that no event is supported."""

    def _start(self, command, *arguments, **options):
        if command[-1] in (MONITOR, GATE):
            command = ["-m", without_qos_events.__name__, command[-1]]
        return super()._start(command, *arguments, **options)


@pytest.fixture(scope="module")
def cell(bundle_folder: Path) -> Iterator[Cell]:
    with closing(CellWithoutEvents(bundle_folder)) as made:
        made.start_policy()
        made.start_gate()
        made.start_monitor()
        yield made


def test_nodes_start_without_a_warning(moving: Cell):
    for process in (moving.monitor, moving.gate):
        lines = process.output
        assert any(line.startswith(without_qos_events.REJECTED) for line in lines)
        complaints = ("Traceback", "[ERROR]", "event", "QoS")
        assert [
            line
            for line in lines
            if not line.startswith(without_qos_events.REJECTED)
            and any(word in line for word in complaints)
        ] == []


def test_the_gate_closes_when_the_monitor_is_killed(moving: Cell, table):
    fault: Fault = table(f"{MIDDLEWARE}monitor killed")
    for _ in range(KILLS):
        fault.closes(lambda: moving.monitor.send(signal.SIGKILL), gate_reason=SILENT)
        moving.start_monitor()
        fault.recovers(by_reset=True)


def test_the_gate_closes_when_the_monitor_is_frozen(moving: Cell, table):
    fault: Fault = table(f"{MIDDLEWARE}monitor frozen")
    fault.closes(lambda: moving.monitor.send(signal.SIGSTOP), gate_reason=SILENT)
    moving.monitor.send(signal.SIGCONT)
    fault.recovers(by_reset=True)


def test_a_silent_policy_closes_the_gate(moving: Cell, table):
    fault: Fault = table(f"{MIDDLEWARE}policy silent", promised=MISSED)
    fault.closes(lambda: moving.follow("silent"), gate_reason=WITHHELD, state="STALE")
    moving.follow("nominal")
    fault.recovers(by_reset=True)


def test_an_alarm_closes_the_gate(moving: Cell, table):
    fault: Fault = table(f"{MIDDLEWARE}permit withdrawn", promised=SCORED)
    fault.closes(lambda: moving.follow("strange"), gate_reason=WITHHELD, state="ALARM")
    moving.follow("nominal")
    fault.recovers(by_reset=True)
