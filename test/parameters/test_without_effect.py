# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A parameter that was given and has no effect beside the others is named, with the reason."""

from dataclasses import replace

import pytest

from failure_monitor.parameters.displays import OVERLAY, OverlayParameters
from failure_monitor.parameters.gate import CommandParameters, GateParameters
from failure_monitor.parameters.intervention import InterventionParameters
from failure_monitor.parameters.judge import JudgeParameters
from failure_monitor.parameters.metrics import MetricsParameters
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.parameters.parameter import without_effect
from failure_monitor.parameters.response import ReactionParameters, ResponseParameters
from failure_monitor.parameters.stop_menu import StopActionParameters, StopMenuParameters

JOY = InterventionParameters(type="sensor_msgs/msg/Joy", dead_band=0.1, timeout=1.0)
MONITOR = MonitorParameters(rollout_pause=2.0, rollout_topic="running", intervention=JOY)
ARRAY = CommandParameters(joints=("elbow",), max_deceleration=(1.0,), handover_tolerance=0.2)
GATE = GateParameters(
    command_groups=(ARRAY,),
    speed_scale_lease=2.0,
    joint_states_topic="arm/joint_states",
    safe_command_rate=20.0,
    intervention=JOY,
)


def idle(parameters) -> set[str]:
    sentences = without_effect(parameters, parameters.idle)
    assert all(" has no effect: " in sentence for sentence in sentences)
    return {sentence.split("'")[1] for sentence in sentences}


def gate(intervention=JOY, **command) -> set[str]:
    groups = (replace(ARRAY, **command),)
    return idle(replace(GATE, command_groups=groups, intervention=intervention))


def test_of_the_monitor_and_its_response():
    assert idle(MonitorParameters()) == set()
    assert idle(MONITOR) == {"rollout_pause", "rollout_topic"}
    assert idle(replace(MONITOR, rollout_boundaries="pause")) == {"rollout_topic"}
    by_topic = replace(
        MONITOR,
        rollout_boundaries="topic",
        rollout_topic_type="std_msgs/msg/String",
        task="pick",
        promise_delta=0.0,
        promise_without_outcome=True,
    )
    assert idle(by_topic) == {"rollout_pause", "task", "promise_without_outcome"}
    response = ResponseParameters(ReactionParameters(most_replans=2))
    response = replace(response, speed=replace(response.speed, slow_from=0.5, slowest=0.5))
    every = {"response.most_replans", "speed.slow_from", "speed.slowest"}
    assert idle(response) == every
    slow = replace(response, reactions=replace(response.reactions, caution="slow"))
    assert idle(slow) == {"response.most_replans"}
    replan = replace(response, reactions=replace(response.reactions, caution="replan"))
    assert idle(replan) == {"speed.slow_from"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"type": "std_msgs/msg/Bool"}, {"intervention_dead_band", "intervention_timeout"}),
        ({"type": "some_msgs/msg/Other"}, {"intervention_dead_band"}),
        (
            {"topic": ""},
            {"intervention_type", "intervention_dead_band", "intervention_timeout"},
        ),
    ],
)
def test_of_interventions(changes, expected):
    found = idle(replace(MONITOR, intervention=replace(JOY, **changes)))
    assert found - {"rollout_pause", "rollout_topic"} == expected


def test_of_the_gate():
    scale, joints = {"speed_scale_lease"}, {"joint_states_topic"}
    of_command = {"command.joints", "command.max_deceleration", "command.handover_tolerance"}
    assert idle(GateParameters(command_groups=(CommandParameters(),))) == set()
    assert gate() == {*scale, *joints, *of_command, "safe_command_rate"}
    assert gate(safe_command="hold") == {*scale, "command.max_deceleration"}
    assert gate(safe_command="decelerate", scaled=True) == {
        *joints,
        *of_command - {"command.max_deceleration"},
    }
    # Joint states may be asked for after a human, and by trajectories that come to rest.
    assert gate(type="sensor_msgs/msg/JointState", scaled=True) == {
        "command.max_deceleration",
        "safe_command_rate",
    }
    assert gate(type="geometry_msgs/msg/Twist", safe_command="zero", scaled=True) == {
        *joints,
        *of_command,
    }
    without = gate(replace(JOY, topic=""), safe_command="hold", at_intervention="yield")
    assert {"command.at_intervention", "command.handover_tolerance"} <= without


def test_of_the_other_nodes():
    lock = StopActionParameters("lock", "lock", "pause", value=False, resume="go")
    menu = StopMenuParameters(("lock", "arm"), (lock, replace(lock, name="arm", kind="set_bool")))
    assert idle(menu) == {"halt.lock.value", "halt.lock.resume", "halt.arm.resume"}
    assert idle(JudgeParameters(camera_topic="front", pictures=2)) == {"camera_topic", "pictures"}
    assert idle(JudgeParameters(camera_topic="front", send_pictures=True)) == set()
    assert idle(MetricsParameters(metrics_port=9469, file_period=1.0)) == {"file_period"}
    overlay = OverlayParameters(image_topic="front", rate=0.0, heat_map=True)
    sentences = without_effect(overlay, overlay.idle, prefix=OVERLAY)
    assert [one.split("'")[1] for one in sentences] == ["overlay.image_topic", "overlay.heat_map"]
    assert idle(replace(overlay, rate=5.0)) == set()
