# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every node on simulated time, whose clock jumps, stops, or was never there."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from builtin_interfaces.msg import Time
from rclpy.clock import Clock as NodeClock
from rclpy.clock import ClockType
from rosgraph_msgs.msg import Clock
from testbed.faults.cell import Cell, open_cell
from testbed.faults.trial import MISSED, SCORED, SILENT, WITHHELD, Fault

pytestmark = [pytest.mark.ros, pytest.mark.law(7)]

TICK = 0.01
"""Seconds between two messages on `/clock`."""

LONG = 1_000_000.0
"""Seconds by which the clock jumps."""


class SimulatedClock:
    """The simulation's, which runs as fast as time does."""

    def __init__(self, cell: Cell) -> None:
        self._node = cell.node
        self._publisher = cell.node.create_publisher(Clock, "/clock", 10)
        self._now = 2 * LONG
        self.runs = False
        steady = NodeClock(clock_type=ClockType.STEADY_TIME)
        cell.node.create_timer(TICK, self._tick, clock=steady)

    def jump(self, seconds: float) -> None:
        self._now += seconds

    def _tick(self) -> None:
        if self.runs:
            self._now += TICK
            nanoseconds = round(1e9 * self._now)
            stamp = Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
            self._publisher.publish(Clock(clock=stamp))


@pytest.fixture(scope="module")
def cell(bundle_folder: Path) -> Iterator[Cell]:
    with open_cell(bundle_folder, is_simulated=True) as made:
        made.start_policy()
        made.start_gate()
        made.start_monitor()
        yield made


@pytest.fixture(scope="module")
def clock(cell: Cell) -> SimulatedClock:
    """It stands still until the first test has seen that nothing passes without one."""
    return SimulatedClock(cell)


@pytest.fixture
def running(clock: SimulatedClock, moving: Cell) -> Cell:
    return moving


def test_nothing_passes_before_there_is_a_clock(cell: Cell, clock: SimulatedClock, table):
    fault: Fault = table("use_sim_time without a clock, which then comes")
    cell.follow("nominal")
    fault.stays_closed(
        2.0,
        gate_reason=WITHHELD,
        state="ALARM",
        monitor_reason="use_sim_time is true, and no time has come on '/clock'",
    )
    clock.runs = True
    fault.recovers(by_reset=True)


def test_a_clock_that_jumps_forward_changes_nothing(running: Cell, clock, table):
    fault: Fault = table("clock jumps forward, then the monitor is killed")
    clock.jump(LONG)
    fault.stays_open(1.0)
    fault.closes(lambda: running.monitor.send(signal.SIGKILL), gate_reason=SILENT)
    running.start_monitor()
    fault.recovers(by_reset=True)


def test_the_gate_closes_when_the_clock_jumps_back(running: Cell, clock, table):
    fault: Fault = table("clock jumps back", promised=SCORED)
    fault.closes(
        lambda: clock.jump(-LONG),
        gate_reason=WITHHELD,
        state="ALARM",
        # They went back by as much, or of what was on its way: it is ahead by as much.
        monitor_reason="the stamp",
    )
    fault.recovers(by_reset=True)


@pytest.mark.law(3)
def test_a_jump_back_does_not_prolong_the_lease_of_a_killed_monitor(running: Cell, clock, table):
    fault: Fault = table("clock jumps back as the monitor is killed")

    def jump_and_kill() -> None:
        running.monitor.send(signal.SIGKILL)
        clock.jump(-LONG / 2)

    fault.closes(jump_and_kill, gate_reason=SILENT)
    running.start_monitor()
    fault.recovers(by_reset=True)


def test_the_gate_closes_when_the_clock_stops(running: Cell, clock, table):
    """No decision is new any more; ages run on by a steady clock."""
    fault: Fault = table("clock stops, then runs again", promised=MISSED)

    def stop() -> None:
        clock.runs = False

    fault.closes(stop, gate_reason=WITHHELD, state="STALE", monitor_reason="has the stamp of")
    clock.runs = True
    fault.stays_closed(
        0.5, gate_reason=WITHHELD, state="STALE", monitor_reason="the cause is gone"
    )
    fault.recovers(by_reset=True)
