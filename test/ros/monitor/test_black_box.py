# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor runs the exported policy: all of it, or what the policy does not publish."""

from __future__ import annotations

import array
import dataclasses
import math
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from testbed import exported_policy
from testbed.black_box_robot import (
    MONITOR,
    SEED,
    Exported,
    Robot,
    exported,
)
from testbed.exported_policy import ACTIONS, export_policy
from testbed.ros_graph import node_process, observing
from testbed.scenes import JOINTS

from failure_monitor.bundle.folder import load, save
from failure_monitor.bundle.input_types import COMPRESSED_IMAGE, IMAGE
from failure_monitor.errors import FailureMonitorError
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.messages import (
    action_chunks_message,
    embedding_message,
    stamp_nanoseconds,
)
from failure_monitor.ros.common.parameters import (
    check_parameters,
    declare_parameters,
    read_parameters,
)
from failure_monitor.ros.monitor.idle_parameters import parameters_without_effect
from failure_monitor.ros.monitor.monitored_bundle import load_monitored_bundle

__all__ = ["exported"]

pytestmark = pytest.mark.ros


def models(exported: Exported, **parameters) -> dict:
    return {
        "bundle": exported.bundle,
        "encoder": exported.encoder,
        "sampler": exported.sampler,
        "noise_seed": SEED,
        "rollout_boundaries": "none",
        "max_joint_state_age": 1.0,
        "max_decision_age": 2.0,
        **parameters,
    }


@pytest.fixture
def compressing_robot(exported):
    with observing(Robot, exported, is_compressed=True) as robot:
        yield robot


def models_of_bundle(exported: Exported, **parameters) -> dict:
    return {
        "bundle": exported.whole_bundle,
        "rollout_boundaries": "none",
        "max_joint_state_age": 1.0,
        "max_decision_age": 2.0,
        **parameters,
    }


@pytest.fixture
def robot(exported):
    with observing(Robot, exported) as robot:
        yield robot


@pytest.mark.parametrize("parameters", [models, models_of_bundle])
def test_what_is_seen_is_judged_as_it_was_calibrated(robot, exported, parameters):
    monitor = load(Path(exported.bundle)).monitor()
    with node_process(MONITOR, **parameters(exported)):
        robot.wait_until_seen()
        for number, decision in enumerate(exported.decisions[:5]):
            expected = monitor.update(decision)
            # What is a moment old would be matched as well.
            robot.spin(0.1)
            robot.show(number)
            robot.wait_for(
                lambda n=str(number): robot.alarm_values().get("decision") == n, "the verdict"
            )
            values = robot.alarm_values()
            assert float(values["level"]) == pytest.approx(expected.level, abs=1e-3)
            for score in expected.scores:
                assert float(values[score.name]) == pytest.approx(score.windowed, rel=1e-3)
        robot.wait_for(lambda: robot.state() == "NOMINAL" and robot.permitted(), "the permit")


NOISE = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
JPEG = cv2.imencode(".jpg", NOISE)[1].tobytes()

BAD = {
    "zero-size image": ("front", {"height": 0, "data": array.array("B")}, "ALARM", "'front'"),
    "truncated image": ("front", {"data": array.array("B", bytes(5))}, "ALARM", "'front'"),
    "unknown encoding": ("front", {"encoding": "yuv9"}, "ALARM", "yuv9"),
    "another type under the name": ("front", {"encoding": "32FC1"}, "ALARM", "32FC1"),
    "corrupt PNG": ("wrist", {"data": b"\x89PNG and no more"}, "ALARM", "'wrist'"),
    "damaged JPEG": (
        "wrist",
        {"format": "jpeg", "data": JPEG[:2000] + JPEG[2600:]},
        "ALARM",
        "'jpeg' is damaged",
    ),
    "no PNG at all": ("wrist", {"data": b""}, "ALARM", "'wrist'"),
    "a joint is missing": (
        "joint_states",
        {"name": ["lamp", "gripper", "elbow"], "position": [0.0, 0.0, 0.0]},
        "ALARM",
        "lacks shoulder",
    ),
    "a joint twice": (
        "joint_states",
        {"name": [*JOINTS, "elbow"], "position": [0.0] * 4},
        "ALARM",
        "elbow more than once",
    ),
    "a joint is NaN": (
        "joint_states",
        {"position": [0.0, math.nan, 0.0, 0.0]},
        "ALARM",
        "gripper are NaN",
    ),
    "a camera without stamps": ("wrist", {"header": Header()}, "ALARM", "has no stamp"),
    "a camera from the future": (
        "wrist",
        {"header": lambda message: Header(stamp=Time(sec=message.header.stamp.sec + 60))},
        "ALARM",
        "ahead of this machine's clock",
    ),
}

SILENT = {
    "front": "no message on '/front' for more than 2 s",
    "wrist": "no message on '/wrist/compressed' for more than 2 s",
    "joint_states": "no message on '/joint_states' for more than 1 s",
}


def test_a_compressed_camera_may_have_any_topic(exported, tmp_path):
    bundle = load(Path(exported.whole_bundle))
    section = bundle.description.black_box
    description = dataclasses.replace(
        bundle.description,
        black_box=dataclasses.replace(section, cameras={**section.cameras, "wrist": "wrist_jpeg"}),
        message_types={"wrist_jpeg": COMPRESSED_IMAGE, section.cameras["front"]: IMAGE},
    )
    save(dataclasses.replace(bundle, description=description), tmp_path / "bundle")
    rclpy.init()
    robot = Robot(exported, is_compressed=True, wrist="wrist_jpeg")
    parameters = models_of_bundle(exported) | {"bundle": tmp_path / "bundle"}
    try:
        with node_process(MONITOR, **parameters):
            robot.wait_until_seen()
    finally:
        robot.node.destroy_node()
        rclpy.try_shutdown()


def delayed(header, seconds):
    stamp = stamp_nanoseconds(header.stamp) - round(1e9 * seconds)
    return Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9))


def test_bad_input_is_named_and_survived(compressing_robot, exported):
    robot = compressing_robot
    topics = "['front','wrist/compressed']"
    with node_process(MONITOR, **models(exported, image_topics=topics)) as process:
        robot.wait_until_seen()
        for kind, (stream, changes, state, reason) in BAD.items():
            robot.recover()
            robot.changes[stream] = changes
            robot.expect(state, reason)
            assert process.is_running, kind
        for stream, reason in SILENT.items():
            robot.recover()
            robot.silent.add(stream)
            robot.expect("STALE", reason)
        robot.recover()
        second = rclpy.create_node("second_camera")
        second.create_publisher(Image, "front", 10)
        robot.expect("STALE", "2 publishers on '/front'")
        second.destroy_node()
        robot.recover()
        robot.changes["wrist"] = {"header": lambda message: delayed(message.header, 1.0)}
        robot.expect("ALARM", "the stamps went back by")
        robot.recover()
        assert process.is_running
        _, output = process.end()
    assert "Traceback" not in output


def test_observations_may_be_thinned_out(robot, exported):
    with node_process(MONITOR, **models(exported, observation_rate=5.0)):
        robot.wait_until_seen()
        robot.recover()
        first, begin = int(robot.alarm_values()["decision"]), time.monotonic()
        robot.show_until(lambda: time.monotonic() - begin > 4.0, "some seconds")
        judged = int(robot.alarm_values()["decision"]) - first
        assert 10 <= judged <= 5.0 * (time.monotonic() - begin) + 2


def test_the_policy_may_publish_embeddings_alone(robot, exported):
    monitor = load(Path(exported.bundle)).monitor()
    with node_process(MONITOR, **models(exported, encoder="''", max_joint_state_age=0.0)):
        robot.wait_for(robot.embeddings.get_subscription_count, "the monitor to subscribe")
        robot.wait_for(robot.state, "an alarm message")
        assert robot.chunks.get_subscription_count() == 0
        for number, decision in enumerate(exported.decisions[:3]):
            expected = monitor.update(decision)
            robot.embeddings.publish(embedding_message(decision.embedding, robot.header()))
            robot.wait_for(
                lambda n=str(number): robot.alarm_values().get("decision") == n, "the verdict"
            )
            level = float(robot.alarm_values()["level"])
            assert level == pytest.approx(expected.level, abs=1e-3)


def test_the_policy_may_publish_action_chunks_alone(robot, exported):
    monitor = load(Path(exported.bundle)).monitor()
    with node_process(MONITOR, **models(exported, sampler="''")):
        robot.wait_until_seen()
        robot.wait_for(robot.chunks.get_subscription_count, "the monitor to subscribe to chunks")
        for number, decision in enumerate(exported.decisions[:3]):
            expected = monitor.update(decision)
            # Frames come more often than decisions.
            robot.spin(0.1)
            robot.show(number)
            robot.spin(0.1)
            header = robot.header()
            robot.show(number, header)
            robot.chunks.publish(action_chunks_message(decision.chunks, ACTIONS, header))
            robot.wait_for(
                lambda n=str(number): robot.alarm_values().get("decision") == n, "the verdict"
            )
            level = float(robot.alarm_values()["level"])
            assert level == pytest.approx(expected.level, abs=1e-3)


# What is refused when the node is configured


def test_an_onnx_file_that_is_none_is_the_alarms_reason(robot, exported, tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(b"no model")
    parameters = models(exported, encoder=tmp_path / "encoder.onnx")
    with node_process(MONITOR, **parameters) as process:
        robot.wait_for(lambda: "encoder.onnx" in robot.reason(), "the reason")
        assert robot.state() == "STALE"
        assert process.is_running


@pytest.fixture(scope="module")
def other_policy(tmp_path_factory):
    """A policy of other embeddings and chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exported_policy, "EMBEDDING_SIZE", 7)
        patch.setattr(exported_policy, "NOISE_SHAPE", (6, len(ACTIONS)))
        patch.setattr(exported_policy, "HORIZON", 6)
        return export_policy(tmp_path_factory.mktemp("other"))


def watched(**values):
    """What a node with these parameters would watch."""
    rclpy.init()
    node = Node("failure_monitor_models")
    declare_parameters(node, MonitorParameters)
    settings = dataclasses.replace(read_parameters(node, MonitorParameters), **values)
    try:
        check_parameters(node, settings)
        return load_monitored_bundle(settings)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def test_a_bundle_tells_models_cameras_and_how_they_are_run(exported):
    told = watched(**models_of_bundle(exported))
    assert told.models.values()["encoder"] == f"{exported.whole_bundle}/encoder.onnx"
    assert told.cameras == {"front": "/front", "wrist": "/wrist"}
    assert list(told.cameras) == ["front", "wrist"]
    assert (told.black_box.observation_rate, told.black_box.matching_tolerance) == (15.0, 0.04)
    assert told.black_box.noise_seed == SEED
    assert told.models.warning == ""


def test_of_models_that_the_bundle_does_not_hold_it_is_said_that_nobody_knows(exported):
    told = watched(**models(exported))
    assert f"does not hold {exported.encoder} and {exported.sampler}" in told.models.warning


def test_what_agrees_with_the_bundle_and_other_topics_may_be_said(exported):
    agreeing = {
        "encoder": exported.encoder,
        "observation_rate": 15.0,
        "noise_seed": SEED,
        "image_topics": ["elsewhere/front", "elsewhere/wrist/compressed"],
    }
    told = watched(**models_of_bundle(exported, **agreeing))
    assert told.cameras == {"front": "elsewhere/front", "wrist": "elsewhere/wrist/compressed"}
    # These have an effect; topics of what the monitor makes itself, and of joints, have none.
    idle = {"embedding_topic": "e", "action_chunks_topic": "c", "more_joint_states_topics": ("j",)}
    agreeing["image_topics"] = tuple(agreeing["image_topics"])
    sentences = parameters_without_effect(MonitorParameters(**agreeing, **idle), told)
    assert [sentence.split("'")[1] for sentence in sentences] == [
        "embedding_topic",
        "action_chunks_topic",
        "more_joint_states_topics",
    ]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"sampler": "other"}, "is not the sampler that the bundle was calibrated with and holds"),
        ({"noise_seed": 0}, "the parameter 'noise_seed' is 0, the bundle was calibrated with 3"),
        ({"observation_rate": 0.0}, "'observation_rate' is 0, the bundle was calibrated with 15"),
        ({"matching_tolerance": 0.05}, "is 0.05, the bundle was calibrated with 0.04"),
        ({"matching_tolerance": -0.5}, "is -0.5: give 0 or more, or -1"),
        ({"bundle": "half", "sampler": "own"}, "calibrated on what the policy itself published"),
    ],
)
def test_what_contradicts_the_bundle_is_refused(exported, other_policy, values, reason):
    known = {"other": str(other_policy[1]), "own": exported.sampler, "half": exported.half_bundle}
    chosen = {name: known.get(value, value) for name, value in values.items()}
    with pytest.raises(FailureMonitorError) as refused:
        watched(**models_of_bundle(exported, **chosen))
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"encoder": "/nowhere/encoder.onnx"}, "/nowhere/encoder.onnx"),
        ({"execution_providers": ["openvino"]}, "openvino"),
        ({"execution_providers": ["abacus"]}, "there is no execution provider 'abacus'"),
        ({"inference_threads": 0}, "0 threads"),
        ({"image_topics": ["one"]}, "image_topics names 1 topics, the encoder has 2 cameras"),
        ({"image_topics": ["a b", "c"]}, "'a b'"),
        ({"encoder": "other"}, "gives embeddings of length 7, the bundle was calibrated on 10"),
        ({"sampler": "other"}, "of another policy than the bundle (embedding size 7 against 10"),
        ({"encoder": "sampler"}, "encoder"),
    ],
)
def test_models_that_do_not_fit_are_refused(exported, other_policy, values, reason):
    others = dict(zip(("encoder", "sampler"), map(str, other_policy), strict=True))
    chosen = {name: others[name] if value == "other" else value for name, value in values.items()}
    if chosen.get("encoder") == "sampler":
        chosen["encoder"] = exported.sampler
    with pytest.raises(FailureMonitorError) as refused:
        watched(**models(exported) | chosen)
    assert reason in str(refused.value)
