# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`check` where the monitor runs the policy's models: cameras take the place of its messages."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from std_msgs.msg import Header
from testbed.black_box_robot import MONITOR, Robot, exported
from testbed.check_command import SECONDS, check, lines_of
from testbed.ros_graph import node_process, observing

from failure_monitor.bundle.folder import load
from failure_monitor.ros.common.messages import stamp_message

__all__ = ["exported"]

pytestmark = pytest.mark.ros


class ShowingRobot(Robot):
    """Shows one scene, all the time, as often as it was calibrated."""

    def __init__(self, policy) -> None:
        super().__init__(policy)
        self._shown = 0
        self._period = load(Path(policy.whole_bundle)).description.decision_period

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # Stamps on a grid, so that a machine that is busy does not change the period.
            periods = int(time.time() / self._period)
            if periods > self._shown:
                self._shown = periods
                stamp = stamp_message(round(periods * self._period * 1e9))
                self.show(0, Header(stamp=stamp))
            super().spin(0.01)


@pytest.fixture
def robot(exported):
    with observing(ShowingRobot, exported) as robot:
        yield robot


def test_cameras_are_checked_in_the_place_of_what_the_policy_publishes(robot, exported):
    _, before, _ = check(robot, exported.whole_bundle)
    for topic in ("/wrist", "/front"):
        assert "ok" in lines_of(before, topic)[0], before
    assert not lines_of(before, "/policy/embedding")
    with node_process(MONITOR, bundle=exported.whole_bundle):
        robot.wait_until_seen()
        _, found, _ = check(robot, exported.whole_bundle)
        for topic in ("/wrist", "/front", "/joint_states"):
            [line] = lines_of(found, topic)
            assert "ok" in line.partition(topic)[0], found
        robot.silent = {"front"}
        _, found, _ = check(robot, exported.whole_bundle)
        [line] = lines_of(found, "/front")
        assert line.startswith("[X] wrong")
        assert f"/observer published no images in {SECONDS} s" in line
