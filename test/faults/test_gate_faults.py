# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The gate itself is killed or frozen, or cannot be reached."""

from __future__ import annotations

import signal
import time

import pytest
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool
from testbed.faults.cell import Cell
from testbed.faults.trial import SILENT, WITHHELD, Fault

pytestmark = pytest.mark.ros


@pytest.mark.law(4)
def test_a_gate_that_is_restarted_during_a_halt_stays_closed(moving: Cell, table):
    fault: Fault = table("gate killed and restarted during a halt")
    moving.follow("strange")
    moving.wait_for(lambda: moving.gate_state.state == "closed", "the halt")
    moving.gate.send(signal.SIGKILL)
    time.sleep(0.5)
    moving.start_gate()
    moving.follow("nominal")
    fault.stays_closed(1.0, gate_reason=WITHHELD, state="ALARM")
    fault.recovers(by_reset=True)


def test_a_gate_that_is_killed_passes_nothing_until_it_is_back(moving: Cell, table):
    fault: Fault = table("gate killed (SIGKILL), then restarted")
    moving.gate.send(signal.SIGKILL)
    time.sleep(0.5)
    moving.start_gate()
    begin = moving.gate_state.time
    fault.recovers(by_reset=False)
    states = [report for report in moving.gate_states if report.time > begin]
    opened = next(report.time for report in states if report.state == "open")
    assert states[0].state == "closed"
    fault.passed = sum(begin < command.time < opened for command in moving.passed)
    assert fault.passed == 0


def test_a_frozen_gate_passes_nothing_once_it_is_thawed_and_the_monitor_dead(moving: Cell, table):
    fault: Fault = table("gate frozen, monitor killed, gate thawed")
    moving.gate.send(signal.SIGSTOP)
    time.sleep(0.5)
    moving.monitor.send(signal.SIGKILL)
    time.sleep(0.5)
    fault.closes(lambda: moving.gate.send(signal.SIGCONT), gate_reason=SILENT)
    moving.start_monitor()
    fault.recovers(by_reset=True)


def test_a_permit_that_cannot_be_heard_opens_nothing(moving: Cell, table):
    fault: Fault = table("permit published best effort (incompatible QoS)")
    moving.monitor.end()
    moving.gate.end()
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    permits = moving.node.create_publisher(Bool, "failure_monitor/permit", best_effort)
    timer = moving.node.create_timer(
        0.05,
        lambda: permits.publish(Bool(data=True)),
        clock=Clock(clock_type=ClockType.STEADY_TIME),
    )
    moving.start_gate()
    fault.stays_closed(1.0, gate_reason="offers less RELIABILITY than the gate asks for")
    moving.node.destroy_timer(timer)
    moving.node.destroy_publisher(permits)
    moving.start_monitor()
    fault.recovers(by_reset=False)
