# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor runs the exported policy: all of it, or the half that the policy does not publish."""

from __future__ import annotations

import array
import dataclasses
import math
import time
from pathlib import Path

import cv2
import exported_policy
import pytest
import rclpy
from builtin_interfaces.msg import Time
from exported_policy import ACTIONS, export_policy
from rclpy.node import Node
from ros_graph import Observer, node_process
from scenes import JOINTS, scenes
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header

from failure_monitor.black_box import black_box_rollout
from failure_monitor.bundle import load, save, with_models
from failure_monitor.calibrate import CalibrationSettings, calibrate
from failure_monitor.errors import FailureMonitorError
from failure_monitor.observation import Observation
from failure_monitor.onnx_file import read_onnx_file
from failure_monitor.onnx_models import ObservationEncoder, PolicySampler
from failure_monitor.ros.messages import action_chunks_message, embedding_message
from failure_monitor.ros.monitor_parameters import declare_parameters, read_parameters
from failure_monitor.ros.watched_bundle import load_watched

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor_node"
SAMPLES, SEED = 8, 3
RATE = 20.0


@dataclasses.dataclass
class Exported:
    """The exported policy, bundles for it, and a rollout that it was not calibrated on.

    Of the bundles one does not hold the models, one holds both, one the encoder alone.
    """

    encoder: str
    sampler: str
    bundle: str
    whole_bundle: str
    half_bundle: str
    observations: list[Observation]
    decisions: list


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    paths = export_policy(folder)
    encoder, sampler = (
        kind(read_onnx_file(path))
        for kind, path in zip((ObservationEncoder, PolicySampler), paths, strict=True)
    )

    def rollout(seed):
        made = black_box_rollout(
            scenes(seed), encoder, sampler, name=f"{seed}", samples=SAMPLES, seed=SEED
        )
        return dataclasses.replace(made, success=True, sha256=f"{seed:064x}")

    settings = CalibrationSettings(scores=("knn", "ace"), rule="any", window=2, folds=3, jobs=1)
    calibrated = calibrate(
        [rollout(seed) for seed in range(12)], sampler.policy_format(samples=SAMPLES), settings
    )
    how = {
        "cameras": {"wrist": "/wrist", "front": "/front"},
        "observation_rate": 15.0,
        "matching_tolerance": 0.04,
        "noise_seed": SEED,
    }
    bundles = [folder / name for name in ("bundle", "whole", "half")]
    whole = with_models(calibrated, encoder.file, sampler.file, **how)
    half = with_models(calibrated, encoder.file, None, **how)
    for bundle, path in zip((calibrated, whole, half), bundles, strict=True):
        save(bundle, path)
    return Exported(*map(str, (*paths, *bundles)), scenes(99), list(rollout(99).decisions()))


class Robot(Observer):
    """Has cameras, of which one compresses its images, and joints; can play the policy as well."""

    def __init__(self, exported: Exported, *, is_compressed: bool = False) -> None:
        super().__init__(ACTIONS)
        self.exported = exported
        self._message = CompressedImage if is_compressed else Image
        self._wrist = self.node.create_publisher(
            self._message, "wrist/compressed" if is_compressed else "wrist", 10
        )
        self._front = self.node.create_publisher(Image, "front", 10)
        self._joints = self.node.create_publisher(JointState, "joint_states", 10)
        self.listen_to_monitor()
        self.changes: dict[str, dict] = {}
        self.silent: set[str] = set()

    def wait_until_seen(self) -> None:
        self.wait_for(
            lambda: all(
                publisher.get_subscription_count()
                for publisher in (self._wrist, self._front, self._joints)
            ),
            "the monitor to subscribe",
        )
        self.wait_for(self.state, "an alarm message")

    def header(self) -> Header:
        nanoseconds = time.time_ns()
        return Header(stamp=Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9))

    def show(self, index: int, header: Header | None = None) -> None:
        """Publish what is seen at one of the rollout's decisions."""
        header = header or self.header()
        seen = self.exported.observations[index]
        if "joint_states" not in self.silent:
            self._joints.publish(self._joint_state(header, seen.joints))
        if "wrist" not in self.silent:
            self._wrist.publish(self._changed("wrist", self._image(header, seen.images["wrist"])))
        if "front" not in self.silent:
            front = image_message(header, seen.images["front"])
            self._front.publish(self._changed("front", front))

    def show_until(self, condition, what: str) -> None:
        """Show the robot several times a second until something is so."""
        last = 0.0

        def shown() -> bool:
            nonlocal last
            if time.monotonic() - last > 1 / RATE:
                last = time.monotonic()
                self.show(0)
            return condition()

        self.wait_for(shown, what)

    def expect(self, state: str, *reasons: str) -> None:
        self.show_until(
            lambda: (
                self.state() == state
                and all(reason in self.reason() for reason in reasons)
                and not self.permitted()
            ),
            f"{state} for {reasons}",
        )

    def recover(self) -> None:
        self.changes.clear()
        self.silent.clear()
        self.show_until(
            lambda: "cause is gone" in self.reason() or self.state() == "NOMINAL", "recovery"
        )
        if self.state() != "NOMINAL":
            self.trigger("/failure_monitor/reset")
        self.show_until(lambda: self.permitted() and self.state() == "NOMINAL", "NOMINAL")

    def _joint_state(self, header: Header, positions) -> JointState:
        # In another order than the model's, and with a joint that it does not know.
        message = JointState(
            header=header,
            name=["lamp", *reversed(JOINTS)],
            position=[0.0, *map(float, reversed(positions))],
        )
        return self._changed("joint_states", message)

    def _image(self, header: Header, image):
        if self._message is Image:
            return image_message(header, image)
        _, data = cv2.imencode(".png", image[..., ::-1])
        return CompressedImage(header=header, format="png", data=data.tobytes())

    def _changed(self, stream: str, message):
        for name, value in self.changes.get(stream, {}).items():
            setattr(message, name, value(message) if callable(value) else value)
        return message


def image_message(header: Header, image) -> Image:
    height, width, _ = image.shape
    data = array.array("B", image.tobytes())
    return Image(
        header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data
    )


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
    rclpy.init()
    robot = Robot(exported, is_compressed=True)
    yield robot
    robot.node.destroy_node()
    rclpy.try_shutdown()


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
    rclpy.init()
    robot = Robot(exported)
    yield robot
    robot.node.destroy_node()
    rclpy.try_shutdown()


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


BAD = {
    "zero-size image": ("front", {"height": 0, "data": array.array("B")}, "ALARM", "'front'"),
    "truncated image": ("front", {"data": array.array("B", bytes(5))}, "ALARM", "'front'"),
    "unknown encoding": ("front", {"encoding": "yuv9"}, "ALARM", "yuv9"),
    "another type under the name": ("front", {"encoding": "32FC1"}, "ALARM", "32FC1"),
    "corrupt PNG": ("wrist", {"data": b"\x89PNG and no more"}, "ALARM", "'wrist'"),
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
    "front": "nothing on '/front' for more than 2 s",
    "wrist": "nothing on '/wrist/compressed' for more than 2 s",
    "joint_states": "nothing on '/joint_states' for more than 1 s",
}


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
        robot.changes["wrist"] = {
            "header": lambda message: Header(
                stamp=Time(sec=message.header.stamp.sec - 1, nanosec=message.header.stamp.nanosec)
            )
        }
        robot.expect("STALE", "had none of 'wrist' within 0.05 s")
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
    declare_parameters(node)
    settings = dataclasses.replace(read_parameters(node), **values)
    try:
        settings.check(node)
        return load_watched(settings)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def test_a_bundle_tells_models_cameras_and_how_they_are_run(exported):
    told = watched(**models_of_bundle(exported))
    assert told.models.encoder.file.name == f"{exported.whole_bundle}/encoder.onnx"
    assert told.cameras == {"front": "/front", "wrist": "/wrist"}
    assert list(told.cameras) == ["front", "wrist"]
    assert (told.made.observation_rate, told.made.matching_tolerance) == (15.0, 0.04)
    assert told.made.noise_seed == SEED
    assert told.models.remark == ""


def test_of_models_that_the_bundle_does_not_hold_it_is_said_that_nobody_knows(exported):
    told = watched(**models(exported))
    assert f"does not hold {exported.encoder} and {exported.sampler}" in told.models.remark


def test_what_agrees_with_the_bundle_and_other_topics_may_be_said(exported):
    agreeing = {
        "encoder": exported.encoder,
        "observation_rate": 15.0,
        "noise_seed": SEED,
        "image_topics": ["elsewhere/front", "elsewhere/wrist/compressed"],
    }
    told = watched(**models_of_bundle(exported, **agreeing))
    assert told.cameras == {"front": "elsewhere/front", "wrist": "elsewhere/wrist/compressed"}


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
