# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where a command moves joints first, which is compared with where they are after a human."""

import pytest
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from failure_monitor.monitoring.stop_debt import CommandError
from failure_monitor.ros.commands.joint_state import JointStateCommands
from failure_monitor.ros.commands.joint_trajectory import JointTrajectoryCommands

pytestmark = pytest.mark.law(12)


def test_a_trajectory_is_compared_by_its_first_point():
    points = [JointTrajectoryPoint(positions=[0.1]), JointTrajectoryPoint(positions=[9.0])]
    command = JointTrajectory(joint_names=["elbow"], points=points)
    kind = JointTrajectoryCommands()
    assert kind.positions(command, ()) == {"elbow": pytest.approx(0.1)}
    assert kind.positions(JointTrajectory(joint_names=["elbow"]), ()) == {}


def test_positions_of_joints_without_names_cannot_be_compared():
    kind = JointStateCommands()
    command = kind.message(position=[0.1, 0.2])
    assert kind.positions(command, ("a", "b")) == {"a": 0.1, "b": 0.2}
    assert kind.positions(kind.message(velocity=[1.0]), ()) == {}
    with pytest.raises(CommandError, match="2 positions for 0 joints"):
        kind.positions(command, ())
