# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The defaults of monitor and gate fit each other."""

import pytest

from failure_monitor.parameters.gate import GateParameters
from failure_monitor.parameters.monitor import MonitorParameters

MONITOR, GATE = MonitorParameters(), GateParameters()


@pytest.mark.law(2)
def test_a_lease_outlasts_several_heartbeats():
    assert GATE.permit_lease >= 3 * MONITOR.heartbeat_period
    assert GATE.speed_scale_lease >= GATE.permit_lease


@pytest.mark.law(1)
def test_the_gate_misses_joint_states_before_the_monitor_halts():
    """So it never has to hold the robot where it was long ago."""
    assert GATE.max_joint_state_age <= MONITOR.max_joint_state_age / 2


@pytest.mark.law(2)
def test_a_command_may_take_as_long_as_a_lease_and_little_longer():
    assert GATE.permit_lease <= GATE.max_command_age <= 2 * GATE.permit_lease


@pytest.mark.law(1)
def test_the_command_to_stand_is_repeated_until_a_late_controller_receives_it():
    assert GATE.safe_command_duration * GATE.safe_command_rate >= 10
