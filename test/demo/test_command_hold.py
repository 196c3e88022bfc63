# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from failure_monitor.demo.command_hold import MAX_UNANSWERED, PATIENCE, CommandHold
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


def steps_put_off(hold: CommandHold) -> int:
    hold.expect()
    count = 0
    while hold.put_off():
        count += 1
    return count


def test_the_first_step_after_a_frame_waits_for_its_command_while_frames_are_answered():
    hold = CommandHold()
    assert [steps_put_off(hold) for _ in range(2)] == [0, PATIENCE], "none answers the first frame"
    hold.expect()
    assert hold.put_off()
    hold.receive(COMMAND)
    assert not hold.put_off()
    unanswered = [steps_put_off(hold) for _ in range(MAX_UNANSWERED + 2)]
    assert unanswered == [PATIENCE] * MAX_UNANSWERED + [0, 0]
    hold.receive(COMMAND)
    assert steps_put_off(hold) == PATIENCE


@pytest.mark.parametrize("command", [(0.0, 0.0, 0.0), (0.0, float("nan"), 0.0, 0.0), ()])
def test_a_malformed_command_is_refused_and_the_last_one_stays(command: tuple[float, ...]):
    hold = CommandHold()
    hold.receive(COMMAND)
    with pytest.raises(FailureMonitorError, match="expected 4 finite numbers dx, dy, dz, gripper"):
        hold.receive(command)
    np.testing.assert_array_equal(hold.next_action(), COMMAND)
