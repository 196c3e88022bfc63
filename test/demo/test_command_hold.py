# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from failure_monitor.demo.command_hold import CommandHold
from failure_monitor.demo.tasks import FRAME_STEPS
from failure_monitor.errors import FailureMonitorError

COMMAND = (0.1, -0.2, 0.3, 0.9)


def test_a_command_holds_for_one_camera_period_then_the_arm_stands_and_grips():
    hold = CommandHold()
    hold.receive(COMMAND)
    for _ in range(FRAME_STEPS):
        np.testing.assert_array_equal(hold.next_action(), COMMAND)
    np.testing.assert_array_equal(hold.next_action(), (0.0, 0.0, 0.0, 0.9))


def test_without_a_command_the_arm_stands():
    np.testing.assert_array_equal(CommandHold().next_action(), np.zeros(4))


def test_a_dropped_command_moves_nothing():
    hold = CommandHold()
    hold.receive(COMMAND)
    hold.drop()
    assert not hold.next_action()[:3].any()


@pytest.mark.parametrize("command", [(0.0, 0.0, 0.0), (0.0, float("nan"), 0.0, 0.0), ()])
def test_a_malformed_command_is_refused_and_the_last_one_stays(command: tuple[float, ...]):
    hold = CommandHold()
    hold.receive(COMMAND)
    with pytest.raises(FailureMonitorError, match="expected 4 finite numbers dx, dy, dz, gripper"):
        hold.receive(command)
    np.testing.assert_array_equal(hold.next_action(), COMMAND)
