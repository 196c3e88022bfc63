# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A score of measured positions judges beside the robot as in the robot's bag, or says why not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Header
from testbed.bags import BEGIN, PERIOD, SECOND, BagBuilder
from testbed.ros_graph import Observer, node_process
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.bundle import load, save, with_positions_topic
from failure_monitor.calibration.calibrate import CalibrationSettings, calibrate
from failure_monitor.errors import UsageError
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.messages import action_chunks_message, embedding_message
from failure_monitor.ros.common.parameters import declare_parameters, read_parameters
from failure_monitor.ros.monitor.monitored_bundle import load_monitored_bundle
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import Topics

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"
JOINTS = "/arm/joint_states"
NAMES = ("dx", "dy")
MILLISECOND = SECOND // 1000
TYPES = {
    JOINTS: JointState,
    "/policy/embedding": PointCloud2,
    "/policy/action_chunks": PointCloud2,
}
READING = {
    "topics": Topics(positions=JOINTS),
    "position_names": NAMES,
    "action_kind": "delta",
    "executed_actions": 2,
}


def write_bag(path: Path, seed: int) -> Path:
    """A robot that goes where it is commanded, measured more often than the policy decides."""
    random = np.random.default_rng(seed)
    place = np.zeros(2)
    rollout = synthetic_rollout(seed)
    with BagBuilder(path) as bag:
        for index, decision in enumerate(rollout.decisions()):
            stamp = BEGIN + index * PERIOD
            for offset in (-30, -10, 8):
                measured = place + random.normal(0, 0.01, 2) + offset / 1e4
                bag.joint_state(
                    JOINTS, ["lamp", "dy", "dx"], [5.0, *measured[::-1]], stamp + offset * 10**6
                )
            complete = stamp + 20 * MILLISECOND
            bag.embedding(decision.embedding, stamp, received=complete)
            bag.chunks(decision.chunks, stamp, names=POLICY.action_names, received=complete)
            # Nearer than any, but not there yet when the decision was complete.
            bag.joint_state(JOINTS, NAMES, [9.0, 9.0], stamp, received=complete + 10 * MILLISECOND)
            place = place + decision.chunks[0, :2, :2].sum(axis=0)
    return path


def read(*paths: Path) -> RolloutSet:
    return read_rollouts(paths, **READING)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """A bundle, the topic that measured the positions, and a bag of another rollout."""
    folder = tmp_path_factory.mktemp("tracking")
    known = read(*(write_bag(folder / f"rollout_{seed}", seed) for seed in range(9)))
    settings = CalibrationSettings(scores=("tracking", "ace"), window=2, folds=3, jobs=1)
    rollouts = [replace(rollout, success=True) for rollout in known.rollouts]
    calibrated = with_positions_topic(
        calibrate(rollouts, known.policy, settings), known.positions_topic
    )
    save(calibrated, folder / "bundle")
    return folder / "bundle", write_bag(folder / "other", 99)


class Robot(Observer):
    """Publishes what a bag holds."""

    def __init__(self, message: type = JointState) -> None:
        super().__init__(POLICY.action_names)
        self.positions = self.node.create_publisher(message, JOINTS, 10)
        self.listen_to_monitor()

    def wait_until_there(self) -> None:
        self.wait_for_monitor_alarm()
        self.wait_for(self.positions.get_subscription_count, "the monitor to subscribe")

    def publish(self, topic: str, message: object) -> None:
        publishers = {
            JOINTS: self.positions,
            "/policy/embedding": self.embeddings,
            "/policy/action_chunks": self.chunks,
        }
        if topic == "/policy/embedding":
            # What was measured has come by then: topics keep no order among one another.
            self.spin(0.2)
        publishers[topic].publish(message)
        self.spin(0.03)

    def wait_for_decision(self, number: int) -> dict[str, str]:
        self.wait_for(
            lambda: self.alarm_values().get("decision") == str(number), f"decision {number}"
        )
        return self.alarm_values()


@pytest.fixture
def robot():
    rclpy.init()
    robot = Robot()
    yield robot
    robot.node.destroy_node()
    rclpy.try_shutdown()


def messages(bag: Path):
    """Topic and message, as rclpy has it, in the order in which they were received."""
    with Reader(bag) as reader:
        for connection, _, data in reader.messages():
            yield connection.topic, deserialize_message(bytes(data), TYPES[connection.topic])


PARAMETERS = {
    "rollout_boundaries": "none",
    "max_joint_state_age": 0.0,
    "max_decision_age": 10.0,
    # Stamps here are of no clock.
    "max_plan_age": 0.0,
}


def test_live_scores_are_those_of_the_bag(tracking, robot):
    bundle, bag = tracking
    (rollout,) = read(bag).rollouts
    monitor = load(bundle).monitor()
    expected = [monitor.update(decision) for decision in rollout.decisions()]
    with node_process(MONITOR, bundle=bundle, **PARAMETERS):
        robot.wait_until_there()
        number = 0
        for topic, message in messages(bag):
            robot.publish(topic, message)
            if topic != "/policy/action_chunks":
                continue
            values = robot.wait_for_decision(number)
            assert float(values["level"]) == pytest.approx(expected[number].level, abs=1e-3)
            for score in expected[number].scores:
                if score.is_defined:
                    assert float(values[score.name]) == pytest.approx(score.windowed, rel=1e-4)
            number += 1
        assert number == len(expected)
        assert any(score.is_defined for score in expected[-1].scores if score.name == "tracking")


class Arm:
    """Moves as it is commanded, and tells where it is, or something else."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._decision = next(synthetic_rollout(0).decisions())
        self._place = np.zeros(2)
        self._stamp = BEGIN

    def measure(self, place=None, names: tuple[str, ...] = NAMES, late: int = 0) -> None:
        position = [float(value) for value in (self._place if place is None else place)]
        message = JointState(name=names, position=position)
        message.header = self._header(late)
        self._robot.publish(JOINTS, message)

    def decide(self) -> None:
        """Decide on the next observation; measure before, or not."""
        decision, header = self._decision, self._header()
        self._robot.publish("/policy/embedding", embedding_message(decision.embedding, header))
        self._robot.publish(
            "/policy/action_chunks",
            action_chunks_message(decision.chunks, POLICY.action_names, header),
        )
        self._place = self._place + decision.chunks[0, :2, :2].sum(axis=0)
        self._stamp += PERIOD

    def wait(self) -> None:
        """Until what was measured before is too old."""
        self._stamp += 3 * PERIOD

    def recover(self) -> None:
        robot = self._robot
        for _ in range(20):
            self.measure()
            self.decide()
            robot.spin(0.1)
            if "the cause is gone" in robot.reason():
                robot.trigger("/failure_monitor/reset")
            if robot.permitted():
                return
        raise AssertionError(f"no recovery: {robot.state()}, {robot.reason()}")

    def _header(self, late: int = 0) -> Header:
        seconds, rest = divmod(self._stamp + late, SECOND)
        return Header(stamp=Time(sec=seconds, nanosec=rest))


def test_what_is_not_measured_is_named_and_nothing_is_permitted(tracking, robot):
    arm = Arm(robot)
    faults = {
        "with a stamp within 0.1 s of the observation's": {"late": 1000 * PERIOD},
        f"the position of dx on '{JOINTS}' is NaN or infinite": {"place": (math.nan, 0.0)},
        f"'{JOINTS}' has no joint dx, only dy, lamp": {"names": ("dy", "lamp")},
        "a joint state has 3 joints and 2 positions": {"names": ("dx", "dy", "lamp")},
    }
    with node_process(MONITOR, bundle=tracking[0], **PARAMETERS) as process:
        robot.wait_until_there()
        robot.wait_for(lambda: f"no message on '{JOINTS}' so far" in robot.reason(), "the reason")
        for reason, fault in faults.items():
            arm.recover()
            number = int(robot.alarm_values()["decision"])
            arm.wait()
            for _ in range(3):
                arm.measure(**fault)
                arm.decide()
            robot.wait_for(lambda told=reason: told in robot.reason(), f"the reason '{reason}'")
            robot.wait_for_stop("STALE")
            assert "the measured positions are unknown: " in robot.reason()
            arm.measure()
            arm.decide()
            # Those that nobody could judge have numbers all the same.
            robot.wait_for_decision(number + 4)
        assert process.is_running


def test_another_type_on_the_topic_is_named(tracking):
    rclpy.init()
    robot = Robot(PoseStamped)
    try:
        with node_process(MONITOR, bundle=tracking[0], **PARAMETERS):
            reason = (
                "publishes geometry_msgs/msg/PoseStamped there, expected sensor_msgs/msg/Joint"
            )
            robot.wait_for(lambda: reason in robot.reason(), "the reason")
            assert robot.state() == "STALE"
    finally:
        robot.node.destroy_node()
        rclpy.try_shutdown()


def test_a_bundle_that_does_not_say_where_positions_are_measured_is_refused(
    tracking, robot, tmp_path
):
    bundle = load(tracking[0])
    description = replace(bundle.description, positions_topic=None)
    save(replace(bundle, description=description), tmp_path / "silent")
    declare_parameters(robot.node, MonitorParameters)
    settings = replace(read_parameters(robot.node, MonitorParameters), bundle=str(tracking[0]))
    load_monitored_bundle(settings)
    with pytest.raises(UsageError, match="tracking need the robot's measured positions"):
        load_monitored_bundle(replace(settings, bundle=str(tmp_path / "silent")))


def test_the_bundle_keeps_what_measured_the_positions(tracking):
    section = load(tracking[0]).description.positions_topic
    assert section is not None
    assert PositionsTopic(**vars(section)) == PositionsTopic(
        JOINTS, "sensor_msgs/msg/JointState", NAMES
    )
