# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Dataclasses of parameters are made, listed and checked."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from failure_monitor.errors import UsageError
from failure_monitor.parameters.displays import MarkerParameters
from failure_monitor.parameters.gate import CommandParameters, GateParameters
from failure_monitor.parameters.incident_recorder import IncidentParameters
from failure_monitor.parameters.monitor import SETTABLE, MonitorParameters
from failure_monitor.parameters.parameter import (
    NO_NAMES,
    build,
    check,
    documented,
    group,
    items,
    parameter,
    repeated,
)
from failure_monitor.parameters.record import RecordParameters
from failure_monitor.parameters.response import ResponseParameters
from failure_monitor.parameters.stop_menu import StopActionParameters, StopMenuParameters


@dataclass(frozen=True)
class Wheel:
    name: str = ""
    topic: str = parameter("{name}/speed", "Topic of its speed.", is_topic=True)


@dataclass(frozen=True)
class Engine:
    cylinders: int = parameter(4, "Number of cylinders.", bounds=(1, 12))
    fuel: str = parameter("petrol", "Fuel.", choices=("petrol", "diesel"))


@dataclass(frozen=True)
class Car:
    wheels: tuple[str, ...] = parameter(NO_NAMES, "Names of its wheels.", is_optional=True)
    wheel: tuple[Wheel, ...] = repeated(Wheel, names="wheels", prefix="wheel.")
    engine: Engine = group(Engine, "engine.")


GIVEN = {"wheels": ("left", "right"), "wheel.left.topic": "l", "engine.cylinders": 6}


def car(**given) -> Car:
    return build(Car, lambda name, about: given.get(name, about.default))


def test_groups_are_made_for_every_name_in_a_list():
    made = car(**GIVEN)
    assert made.wheel == (Wheel("left", "l"), Wheel("right", "right/speed"))
    assert made.engine == Engine(cylinders=6)
    assert car() == Car(wheels=NO_NAMES)


def test_every_parameter_is_listed_by_its_full_name():
    assert {name: value for name, _, value in items(car(**GIVEN), prefix="car.")} == {
        "car.wheels": ("left", "right"),
        "car.wheel.left.topic": "l",
        "car.wheel.right.topic": "right/speed",
        "car.engine.cylinders": 6,
        "car.engine.fuel": "petrol",
    }
    assert [name for name, _ in documented(Car)] == [
        "wheels",
        "wheel.<name>.topic",
        "engine.cylinders",
        "engine.fuel",
    ]


@pytest.mark.parametrize("names", [("left", "left"), ("left", ""), ()])
def test_names_of_groups_must_be_distinct(names):
    with pytest.raises(UsageError, match=r"'wheels' is .*none twice"):
        car(wheels=names)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"engine.fuel": "wood"},
            "the parameter 'engine.fuel' is 'wood', not one of petrol, diesel",
        ),
        ({"engine.cylinders": 0}, "the parameter 'engine.cylinders' is 0: choose 1 to 12"),
    ],
)
def test_choices_and_bounds_of_integers_hold(given, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        check(car(**given))


def command(**given) -> GateParameters:
    one = CommandParameters(**{"name": "arm", "input": "in", "output": "out", **given})
    return replace(GateParameters(), commands=("arm",), command_groups=(one,))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (command(type="teleport"), "'arm.type' is 'teleport', not one of geometry_msgs"),
        (command(safe_command="pray"), "not one of those of std_msgs/msg/Float64MultiArray: noth"),
        (command(safe_command="hold"), "'arm.joints' names no joint: list those that the numbers"),
        (
            command(safe_command="decelerate"),
            "'decelerate', which needs a list of a number above 0",
        ),
        (
            command(type="geometry_msgs/msg/Twist", safe_command="decelerate"),
            "which needs a list of two numbers above 0, m/s² and rad/s²",
        ),
        (
            command(type="geometry_msgs/msg/PoseStamped", scaled=True),
            "'arm.scaled' is true, but commands of geometry_msgs/msg/PoseStamped have no speed",
        ),
        (replace(GateParameters(), permit_topics=("a", "a")), "'permit_topics' is ['a', 'a']"),
        (replace(GateParameters(), speed_scale_topics=("",)), "'speed_scale_topics' is ['']"),
        (IncidentParameters(), "'output' is empty: name a folder"),
        (IncidentParameters(output="x", alarm_topics=("",)), "'alarm_topics' is empty"),
        (RecordParameters(), "'output' is empty: name a folder"),
        (MarkerParameters(frame=""), "'markers.frame' is empty"),
        (MarkerParameters(start=(0.0, 1.0)), "'markers.start' is [0.0, 1.0], expected x, y and z"),
        (
            StopMenuParameters(("x",), (StopActionParameters("x", "lock"),)),
            "'halt.x.target' is empty: name a std_msgs/Bool topic",
        ),
        (StopMenuParameters(("x",), (StopActionParameters("x"),)), "'halt.x.kind' is '', not one"),
        (
            MonitorParameters(rollout_boundaries="pause", rollout_pause=2.0, max_decision_age=1.0),
            "'rollout_pause' is 2 s, longer than 'max_decision_age', 1 s",
        ),
        (MonitorParameters(max_decision_age=0.0), "'max_decision_age' is 0 s: give 0.01 or more"),
        (MonitorParameters(max_plan_age=0.001), "'max_plan_age' is 0.001 s: give 0.01 or more"),
        (
            MonitorParameters(rollout_boundaries="pause", rollout_pause=2.0, max_plan_age=1.0),
            "longer than 'max_plan_age', 1 s",
        ),
    ],
)
def test_values_that_do_not_go_together_are_rejected_by_name(parameters, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        check(parameters)


def test_defaults_make_sense():
    for parameters in (
        GateParameters(),
        MonitorParameters(),
        ResponseParameters(),
        StopMenuParameters(),
        MarkerParameters(),
        command(safe_command="hold", joints=("elbow", "")),
    ):
        check(parameters)


def test_what_can_be_set_while_the_monitor_runs():
    assert SETTABLE == (
        "enable",
        "max_decision_age",
        "max_plan_age",
        "max_unscored",
        "max_joint_state_age",
        "max_external_age",
        "max_stamp_lead",
        "max_stamp_age",
    )
    changed = MonitorParameters().changed({"enable": False, "speed.rise": 1.0}, is_configured=True)
    assert changed == MonitorParameters(enable=False)
    with pytest.raises(UsageError, match="'bundle' takes effect when the node is configured"):
        changed.changed({"bundle": "other"}, is_configured=True)
    assert changed.changed({"bundle": "other"}, is_configured=False).bundle == "other"


def test_they_load_neither_ros_nor_anything_heavy():
    code = "import sys, failure_monitor.parameters.nodes; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {"numpy", "rclpy", "yaml"} & set(done.stdout.split())
