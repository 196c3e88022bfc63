# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Commands of every type are checked, slowed and replaced as their type demands."""

from __future__ import annotations

import copy
import math
import re

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Header
from testbed.command_messages import (
    ARRAY,
    HEADER,
    JOINTS,
    NAMES,
    POSE,
    TRAJECTORY,
    TWIST,
    TWIST_STAMPED,
    commands,
    seconds,
    trajectory,
    twist,
)
from testbed.repository import ROOT

from failure_monitor.monitoring.stop_debt import CommandError
from failure_monitor.parameters.command_types import COMMAND_ABILITIES
from failure_monitor.ros.commands import COMMAND_TYPES, stop
from failure_monitor.ros.commands.command_type import check_numbers
from failure_monitor.ros.commands.stop import JointMotion

PERIOD = 0.02

PLACES = [
    (TWIST, "linear.x"),
    (TWIST, "linear.y"),
    (TWIST, "linear.z"),
    (TWIST, "angular.x"),
    (TWIST, "angular.y"),
    (TWIST, "angular.z"),
    (TWIST_STAMPED, "twist.linear.y"),
    (TWIST_STAMPED, "twist.angular.z"),
    (POSE, "pose.position.x"),
    (POSE, "pose.position.y"),
    (POSE, "pose.position.z"),
    (POSE, "pose.orientation.x"),
    (POSE, "pose.orientation.y"),
    (POSE, "pose.orientation.z"),
    (POSE, "pose.orientation.w"),
    (ARRAY, "data[1]"),
    (JOINTS, "velocity[1]"),
    (TRAJECTORY, "points[1].positions[0]"),
    (TRAJECTORY, "points[0].velocities[1]"),
    (TRAJECTORY, "points[1].accelerations[1]"),
    (TRAJECTORY, "points[0].effort[0]"),
]
"""Where a number stands."""


def test_there_is_a_command_of_every_type():
    assert commands().keys() == COMMAND_TYPES.keys()


@pytest.mark.parametrize("name", COMMAND_TYPES)
def test_a_sound_command_is_not_refused(name):
    check_numbers(COMMAND_TYPES[name], commands()[name])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_one_number_that_is_none_is_found_wherever_it_stands(name, place, value):
    command = commands()[name]
    exec(f"command.{place} = value", {"command": command, "value": value})
    with pytest.raises(CommandError, match="NaN or infinite"):
        check_numbers(COMMAND_TYPES[name], command)


@pytest.mark.parametrize("field", ["position", "effort"])
def test_joint_states_are_looked_at_whole(field):
    command = JointState(name=NAMES, **{field: [0.0, math.nan]})
    with pytest.raises(CommandError):
        check_numbers(COMMAND_TYPES[JOINTS], command)


@pytest.mark.parametrize("command", [Float64MultiArray(), JointState(name=NAMES), trajectory()])
def test_a_command_without_numbers_is_refused(command):
    names = {type(command): name for name, command in commands().items()}
    with pytest.raises(CommandError, match="it has no values"):
        check_numbers(COMMAND_TYPES[names[type(command)]], command)


def test_huge_numbers_are_numbers():
    check_numbers(COMMAND_TYPES[ARRAY], Float64MultiArray(data=[1e308, 1e308]))


# Slower


def test_a_twist_keeps_its_path_when_it_is_slowed():
    slow = COMMAND_TYPES[TWIST].scaled(twist(0.3, -0.6), 0.5)
    assert (slow.linear.x, slow.angular.z) == (0.15, -0.3)


def test_a_stamped_twist_keeps_its_header_when_it_is_slowed():
    slow = COMMAND_TYPES[TWIST_STAMPED].scaled(commands()[TWIST_STAMPED], 0.5)
    assert slow.header == HEADER
    assert slow.twist.linear.x == 0.15


def test_an_array_of_velocities_is_slowed():
    slow = COMMAND_TYPES[ARRAY].scaled(Float64MultiArray(data=[0.5, -1.0]), 0.5)
    assert list(slow.data) == [0.25, -0.5]


def test_joint_velocities_are_slowed():
    slow = COMMAND_TYPES[JOINTS].scaled(commands()[JOINTS], 0.5)
    assert list(slow.velocity) == [0.25, -0.5]
    assert (slow.header, slow.name) == (HEADER, NAMES)


@pytest.mark.parametrize("field", ["position", "effort"])
def test_joint_states_that_are_no_velocities_cannot_be_slowed(field):
    command = JointState(name=NAMES, velocity=[0.5, -1.0], **{field: [1.0, 1.0]})
    with pytest.raises(CommandError, match="only velocities can be slowed"):
        COMMAND_TYPES[JOINTS].scaled(command, 0.5)


@given(st.floats(0.01, 1.0), st.lists(st.floats(0.001, 1000.0), min_size=1, max_size=4))
def test_a_slowed_trajectory_takes_the_same_path_in_more_time(scale, steps):
    times = np.cumsum(steps)
    command = trajectory(*times)
    before = copy.deepcopy(command)
    slow = COMMAND_TYPES[TRAJECTORY].scaled(command, scale)
    assert command == before
    assert (slow.header, slow.joint_names) == (HEADER, NAMES)
    for fast, point in zip(command.points, slow.points, strict=True):
        assert seconds(point.time_from_start) == pytest.approx(
            seconds(fast.time_from_start) / scale
        )
        assert point.positions == fast.positions
        assert point.effort == fast.effort
        assert list(point.velocities) == pytest.approx([scale * v for v in fast.velocities])
        assert list(point.accelerations) == pytest.approx(
            [scale * scale * a for a in fast.accelerations]
        )


def test_a_trajectory_without_times_cannot_be_slowed():
    with pytest.raises(CommandError, match="no times that could be stretched"):
        COMMAND_TYPES[TRAJECTORY].scaled(trajectory(0.0), 0.5)


def test_a_trajectory_that_would_take_for_ever_is_refused():
    with pytest.raises(CommandError, match="longer than a duration message can hold"):
        COMMAND_TYPES[TRAJECTORY].scaled(trajectory(2e9), 0.5)


# To a stand


@pytest.mark.parametrize("name", [TWIST, TWIST_STAMPED, ARRAY, JOINTS])
def test_zero_is_a_command_of_no_velocity(name):
    kind = COMMAND_TYPES[name]
    still = stop.zero(kind, commands()[name], 0.0).command(0.0)
    assert isinstance(still, kind.message)
    assert list(kind.speeds(still)) == [0.0, 0.0]


@pytest.mark.parametrize("name", [TWIST, TWIST_STAMPED, ARRAY, JOINTS])
@given(st.floats(0.1, 5.0), st.floats(0.1, 5.0), st.floats(0.0, 1e6))
@pytest.mark.law(1)
def test_a_deceleration_goes_from_the_last_command_to_zero_within_its_limits(
    name, first, second, start
):
    kind, last, limits = COMMAND_TYPES[name], commands()[name], (first, second)
    made = stop.decelerate(kind, last, limits, start)
    times = np.linspace(start, made.settled, 50)
    speeds = np.array([kind.speeds(made.command(time)) for time in times])
    assert speeds[0] == pytest.approx(kind.speeds(last))
    assert list(kind.speeds(made.command(made.settled))) == [0.0, 0.0]
    assert list(kind.speeds(made.command(made.settled + 1.0))) == [0.0, 0.0]
    slopes = -np.diff(speeds, axis=0) / np.diff(times)[:, np.newaxis]
    assert (slopes <= np.array(limits) * (1 + 1e-6)).all()
    assert slopes.max(axis=0) == pytest.approx(slopes.min(axis=0), rel=1e-4)
    assert (slopes.max(axis=0) / limits).max() == pytest.approx(1.0)


def test_one_limit_is_for_every_joint():
    made = stop.decelerate(COMMAND_TYPES[ARRAY], Float64MultiArray(data=[0.5, -1.0]), (2.0,), 3.0)
    assert made.settled == pytest.approx(3.5)


def test_a_robot_that_stands_has_nothing_to_decelerate():
    made = stop.decelerate(COMMAND_TYPES[TWIST], Twist(), (1.0, 1.0), 0.0)
    assert (made.settled, made.command(0.0)) == (0.0, Twist())


def test_an_array_is_held_where_the_joints_are():
    motion = JointMotion(positions=(0.7, -0.1), velocities=None)
    last = Float64MultiArray(data=[0.5, -1.0])
    assert list(stop.hold(COMMAND_TYPES[ARRAY], last, motion, 0.0, PERIOD).command(0.3).data) == [
        0.7,
        -0.1,
    ]


def test_joint_states_are_held_where_the_joints_are():
    motion = JointMotion(positions=(0.7, -0.1), velocities=None)
    held = stop.hold(COMMAND_TYPES[JOINTS], commands()[JOINTS], motion, 0.0, PERIOD).command(0.0)
    assert (held.name, list(held.position), list(held.velocity)) == (NAMES, [0.7, -0.1], [])


def test_a_trajectory_is_held_by_one_point_at_rest_that_starts_at_once():
    motion = JointMotion(positions=(0.7, -0.1), velocities=None)
    held = stop.hold(COMMAND_TYPES[TRAJECTORY], trajectory(1.0), motion, 0.0, PERIOD).command(0.0)
    (point,) = held.points
    assert held.header.stamp == Time()
    assert held.joint_names == NAMES
    assert list(point.positions) == [0.7, -0.1]
    assert list(point.velocities) == [0.0, 0.0]
    assert seconds(point.time_from_start) == pytest.approx(PERIOD)


@given(st.tuples(*[st.floats(-2, 2)] * 2), st.floats(0.5, 5.0), st.floats(0.0, 0.9))
def test_a_trajectory_comes_to_rest_without_exceeding_the_limit(velocities, limit, part):
    """By the controller's cubic spline, from any moment of the deceleration on."""
    positions = (0.7, -0.1)
    made = stop.decelerate_measured(
        COMMAND_TYPES[TRAJECTORY],
        trajectory(1.0),
        JointMotion(positions, velocities),
        limit,
        0.0,
        0.0,
    )
    total = max(abs(velocity) for velocity in velocities) / limit
    assert made.settled == pytest.approx(total)
    if total < 1e-3:
        return
    now = part * total
    (point,) = made.command(now).points
    left = seconds(point.time_from_start)
    assert left == pytest.approx(total - now, abs=1e-8)
    for axis, (position, velocity) in enumerate(zip(positions, velocities, strict=True)):
        speed = velocity * (1 - part)
        here = position + (velocity + speed) / 2 * now
        spline = CubicHermiteSpline([0, left], [here, point.positions[axis]], [speed, 0.0])
        braking = spline(np.linspace(0, left, 20), 2)
        assert np.abs(braking).max() <= limit * (1 + 1e-4) + 1e-4


def test_without_measured_velocities_no_trajectory_comes_to_rest():
    with pytest.raises(CommandError, match="have no velocities"):
        stop.decelerate_measured(
            COMMAND_TYPES[TRAJECTORY],
            trajectory(1.0),
            JointMotion((0.0, 0.0), None),
            1.0,
            0.0,
            PERIOD,
        )


def test_an_array_of_another_length_than_there_are_joints_is_refused():
    with pytest.raises(CommandError, match="2 values, but the gate is configured for 3 joints"):
        COMMAND_TYPES[ARRAY].joints(Float64MultiArray(data=[0.5, -1.0]), ["a", "b", "c"])


def test_a_part_of_a_command_is_for_some_of_its_joints():
    first = frozenset(NAMES[:1])
    for name in (JOINTS, TRAJECTORY):
        kind, last = COMMAND_TYPES[name], commands()[name]
        assert kind.axes(last) == frozenset(NAMES)
        assert kind.axes(kind.only(last, first)) == first
        assert kind.only(last, frozenset(NAMES)) is last
    part = COMMAND_TYPES[JOINTS].only(commands()[JOINTS], first)
    assert len(part.velocity) == 1


@pytest.mark.law(1)
def test_a_joint_state_with_fewer_values_than_names_does_not_pass():
    """Which joints it moves is unknown, so they could not be stopped one by one."""
    with pytest.raises(CommandError, match="1 values for 2 names"):
        check_numbers(COMMAND_TYPES[JOINTS], JointState(name=NAMES, velocity=[1.0]))


@pytest.mark.parametrize("name", [TWIST, TWIST_STAMPED, ARRAY, JOINTS])
def test_what_moved_before_the_start_is_stopped_like_a_command_that_stands(name):
    kind = COMMAND_TYPES[name]
    still = stop.zero(kind, kind.unknown(NAMES), 0.0).command(0.0)
    assert set(kind.speeds(still)) == {0.0}


@pytest.mark.parametrize("name", [ARRAY, JOINTS, TRAJECTORY])
def test_joints_that_nobody_names_cannot_be_stopped_unknown(name):
    assert COMMAND_TYPES[name].unknown([]) is None


@pytest.mark.parametrize("name", [TWIST_STAMPED, JOINTS])
def test_what_the_gate_makes_itself_is_stamped_anew_in_the_same_frame(name):
    made = COMMAND_TYPES[name].stamped(commands()[name], Time(sec=99))
    assert made.header == Header(stamp=Time(sec=99), frame_id="tool")


def test_the_page_names_every_type_with_its_safe_commands():
    page = (ROOT / "docs" / "gate.md").read_text()
    rows = dict(re.findall(r"^\| (\w+/msg/[\w, ]+) \| ([^|]+) \|", page, flags=re.MULTILINE))
    told = {}
    for names, choices in rows.items():
        package, *others = re.split(r", ", names)
        for name in (package, *(package.rsplit("/", 1)[0] + f"/{other}" for other in others)):
            told[name] = set(re.findall(r"nothing|zero|decelerate|hold", choices))
    assert told == {name: set(able.safe_commands) for name, able in COMMAND_ABILITIES.items()}


def test_every_type_has_its_abilities():
    assert COMMAND_TYPES.keys() == COMMAND_ABILITIES.keys()
