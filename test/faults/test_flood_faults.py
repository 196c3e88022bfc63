# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""As many commands or decisions as can be published, while the gate must close in time."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from testbed.faults.cell import COMMAND_PERIOD, Cell
from testbed.faults.trial import SILENT, WITHHELD, Fault

pytestmark = [pytest.mark.ros, pytest.mark.alone]

FLOOD = [sys.executable, "-m", "testbed.faults.flood"]
SECOND = 1.0
"""Seconds until it is known that not all are scored."""

MANY = 4000
"""Commands that have passed once the flood is there."""


@pytest.mark.law(6)
def test_the_gate_closes_on_more_decisions_than_can_be_scored(moving: Cell, table):
    fault: Fault = table("more decisions than can be scored", promised=SECOND)
    fault.closes(
        lambda: moving.follow("flood"),
        gate_reason=WITHHELD,
        state="STALE",
        monitor_reason="not scored, the last because",
    )
    moving.follow("nominal")
    fault.recovers(by_reset=True)


@pytest.mark.law(2)
def test_many_decisions_do_not_delay_the_closing(moving: Cell, table):
    fault: Fault = table("500 decisions a second while the monitor is killed")
    moving.follow("often")
    fault.stays_open(1.0)
    fault.closes(lambda: moving.monitor.send(signal.SIGKILL), gate_reason=SILENT)
    moving.follow("nominal")
    moving.start_monitor()
    fault.recovers(by_reset=True)


@pytest.mark.law(2)
def test_a_flood_of_commands_does_not_delay_the_closing(moving: Cell, table):
    # The last test of the file: what has passed takes this process a while to read.
    fault: Fault = table("flood of commands while the monitor is killed")
    flood = subprocess.Popen(FLOOD)
    try:
        before = len(moving.passed)
        # Without the flood so many take twice as long.
        seconds = 0.5 * MANY * COMMAND_PERIOD
        moving.wait_for(lambda: len(moving.passed) - before > MANY, "the flood", seconds)
        moving.wait_until_moving()
        fault.closes(lambda: moving.monitor.send(signal.SIGKILL), gate_reason=SILENT)
        assert flood.poll() is None, "the flood ended by itself"
    finally:
        flood.kill()
        flood.wait()
    moving.start_monitor()
    fault.recovers(by_reset=True)
