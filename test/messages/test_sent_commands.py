# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What decisions take of commands as sent: their values by name, and the mean since the last."""

from __future__ import annotations

import math

import numpy as np
from testbed.bags import STORE, header

from failure_monitor.joint_motion import JointMotion
from failure_monitor.messages.sent_commands import (
    ARRAY,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    POSE_STAMPED,
    SENT_TYPES,
    TWIST,
    TWIST_STAMPED,
    SentCommands,
    named_values,
)
from failure_monitor.parameters.command_types import COMMAND_ABILITIES

SECOND = 1_000_000_000
NO_JOINTS = JointMotion((), np.empty(0), np.empty(0))


def array(*values: float):
    layout = STORE.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    return STORE.types[ARRAY](layout=layout, data=np.array(values, float))


def joint_command(names, positions=(), velocities=()):
    return STORE.types[JOINT_STATE](
        header(0), list(names), np.array(positions), np.array(velocities), np.array([])
    )


def taken(sent: SentCommands, second: float) -> JointMotion:
    return sent.take(round(second * SECOND), NO_JOINTS)


def test_every_type_that_the_gate_passes_has_named_values():
    vector = STORE.types["geometry_msgs/msg/Vector3"]
    twist = STORE.types[TWIST](linear=vector(1.0, 2.0, 3.0), angular=vector(4.0, 5.0, 6.0))
    pose = STORE.types["geometry_msgs/msg/Pose"](
        position=STORE.types["geometry_msgs/msg/Point"](1.0, 2.0, 3.0),
        orientation=STORE.types["geometry_msgs/msg/Quaternion"](4.0, 5.0, 6.0, 7.0),
    )
    seconds = STORE.types["builtin_interfaces/msg/Duration"](sec=2, nanosec=SECOND // 2)
    points = [
        STORE.types["trajectory_msgs/msg/JointTrajectoryPoint"](
            np.array([at, -at]), np.array([]), np.array([]), np.array([]), seconds
        )
        for at in (9.0, 1.0)
    ]
    trajectory = STORE.types[JOINT_TRAJECTORY](header(0), ["a", "b"], points)
    on_axes = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
    expected = {
        TWIST: (twist, on_axes, [1, 2, 3, 4, 5, 6]),
        TWIST_STAMPED: (STORE.types[TWIST_STAMPED](header(0), twist), on_axes, [1, 2, 3, 4, 5, 6]),
        POSE_STAMPED: (
            STORE.types[POSE_STAMPED](header(0), pose),
            tuple(f"position.{axis}" for axis in "xyz")
            + tuple(f"orientation.{axis}" for axis in "xyzw"),
            [1, 2, 3, 4, 5, 6, 7],
        ),
        JOINT_STATE: (
            joint_command(("a", "b"), (1.0, 2.0), (3.0, 4.0)),
            ("a/position", "b/position", "a/velocity", "b/velocity"),
            [1, 2, 3, 4],
        ),
        JOINT_TRAJECTORY: (trajectory, ("a/position", "b/position", "seconds"), [1, -1, 2.5]),
        ARRAY: (array(5.0, 6.0), ("1 of 2", "2 of 2"), [5, 6]),
    }
    assert {*expected} == {*SENT_TYPES} == {*COMMAND_ABILITIES}
    for kind, (command, names, values) in expected.items():
        found, numbers = named_values(command, kind)
        assert (found, list(numbers)) == (names, values)


def test_a_decision_takes_the_mean_of_what_was_sent_since_the_one_before():
    sent = SentCommands("/command", ("1 of 2", "2 of 2"))
    sent.add(1 * SECOND, array(100.0, 100.0), ARRAY)
    assert np.isnan(taken(sent, 2).commands).all()
    for index in range(6000):
        # A burst, and more than wait in full.
        sent.add(2 * SECOND + 1 + index, array(index % 3, 1.0), ARRAY)
    sent.add(4 * SECOND, array(7.0, 7.0), ARRAY)
    motion = taken(sent, 3)
    assert motion.command_names == ("1 of 2", "2 of 2")
    np.testing.assert_allclose(motion.commands, [1.0, 1.0])
    assert sent.came
    assert sent.fault(motion) == ""
    np.testing.assert_allclose(taken(sent, 5).commands, [7.0, 7.0])
    none = taken(sent, 6)
    assert np.isnan(none.commands).all()
    # A gate that is closed sends nothing, which is no fault of the commands.
    assert not sent.came
    assert sent.fault(none) == ""


def test_the_order_of_named_joints_is_free_and_values_without_names_are_not_mixed_up():
    wanted = ("a/velocity", "b/velocity")
    sent = SentCommands("/command", wanted)
    taken(sent, 1)
    sent.add(2 * SECOND, joint_command(("a", "b"), velocities=(1.0, 2.0)), JOINT_STATE)
    sent.add(2 * SECOND, joint_command(("c", "b", "a"), velocities=(9.0, 4.0, 3.0)), JOINT_STATE)
    motion = taken(sent, 3)
    np.testing.assert_allclose(motion.commands, [2.0, 3.0])
    assert sent.fault(motion) == ""

    other = SentCommands("/command", ("1 of 2", "2 of 2"))
    other.add(2 * SECOND, array(1.0, 2.0, 3.0), ARRAY)
    assert "they lack 1 of 2, 2 of 2" in other.fault(taken(other, 3))


def test_a_command_that_is_no_number_is_a_fault_of_that_decision():
    sent = SentCommands("/command", ("1 of 2", "2 of 2"))
    taken(sent, 1)
    sent.add(round(1.5 * SECOND), array(1.0, math.nan), ARRAY)
    sent.add(round(1.6 * SECOND), array(1.0, 2.0), ARRAY)
    motion = taken(sent, 2)
    assert sent.fault(motion) == "2 of 2 is NaN or infinite: check who sends them"
    sent.add(round(2.5 * SECOND), array(1.0, 2.0), ARRAY)
    assert sent.fault(taken(sent, 3)) == ""


def test_values_that_no_command_states_any_more_are_missing():
    sent = SentCommands("/arm", ["a/position", "b/position"])
    taken(sent, 1)
    assert sent.missing == []
    sent.add(round(1.5 * SECOND), joint_command("ab", [1.0, 2.0]), JOINT_STATE)
    taken(sent, 2)
    assert (sent.came, sent.missing) == (1, [])
    sent.add(round(2.5 * SECOND), joint_command("b", [2.0]), JOINT_STATE)
    assert math.isnan(taken(sent, 3).commands[0])
    assert (sent.came, sent.missing) == (1, ["a/position"])
    taken(sent, 4)
    assert (sent.came, sent.missing) == (0, ["a/position", "b/position"])
