# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A score of measured positions judges beside the robot as in the robot's bag, or says why not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from testbed.bags import BEGIN, PERIOD, SECOND, BagBuilder
from testbed.replayed_robot import CHUNKS, PARAMETERS, ReplayedRobot, calibrated_from_bags
from testbed.ros_graph import node_process, observing
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.additions import with_positions_topic
from failure_monitor.bundle.folder import load, save
from failure_monitor.errors import UsageError
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.parameters.monitor import MonitorParameters
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
    calibrated, known = calibrated_from_bags(folder, write_bag, read, "tracking", "ace", window=2)
    save(with_positions_topic(calibrated, known.positions_topic), folder / "bundle")
    return folder / "bundle", write_bag(folder / "other", 99)


class Arm(ReplayedRobot):
    """Moves as it is commanded, and tells where it is, or something else."""

    def __init__(self, message: type = JointState) -> None:
        super().__init__({JOINTS: message})
        self._place = np.zeros(2)

    def measure(self, place=None, names: tuple[str, ...] = NAMES, late: int = 0) -> None:
        position = [float(value) for value in (self._place if place is None else place)]
        message = JointState(name=names, position=position)
        message.header = self.header(late)
        self.publish(JOINTS, message)

    def decide_next(self) -> None:
        """Decide on the next observation; measure before, or not."""
        super().decide_next()
        self._place = self._place + self.decision.chunks[0, :2, :2].sum(axis=0)

    def wait(self) -> None:
        """Until what was measured before is too old."""
        self.stamp += 3 * PERIOD

    def recover(self) -> None:
        def step() -> None:
            self.measure()
            self.decide_next()
            self.spin(0.1)

        self.step_until_permitted(step)


@pytest.fixture
def robot():
    with observing(Arm) as robot:
        yield robot


def test_live_scores_are_those_of_the_bag(tracking, robot):
    bundle, bag = tracking
    (rollout,) = read(bag).rollouts
    monitor = load(bundle).monitor()
    expected = [monitor.update(decision) for decision in rollout.decisions()]
    with node_process(MONITOR, bundle=bundle, **PARAMETERS):
        robot.wait_until_there()
        number = 0
        for topic in robot.replay(bag):
            if topic != CHUNKS:
                continue
            values = robot.wait_for_decision(number)
            assert float(values["level"]) == pytest.approx(expected[number].level, abs=1e-3)
            for score in expected[number].scores:
                if score.is_defined:
                    assert float(values[score.name]) == pytest.approx(score.windowed, rel=1e-4)
            number += 1
        assert number == len(expected)
        assert any(score.is_defined for score in expected[-1].scores if score.name == "tracking")


def test_what_is_not_measured_is_named_and_nothing_is_permitted(tracking, robot):
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
            robot.recover()
            number = int(robot.alarm_values()["decision"])
            robot.wait()
            for _ in range(3):
                robot.measure(**fault)
                robot.decide_next()
            robot.wait_for(lambda told=reason: told in robot.reason(), f"the reason '{reason}'")
            robot.wait_for_stop("STALE")
            assert "the measured positions are unknown: " in robot.reason()
            robot.measure()
            robot.decide_next()
            # Those that nobody could judge have numbers all the same.
            robot.wait_for_decision(number + 4)
        assert process.is_running


def test_another_type_on_the_topic_is_named(tracking):
    with (
        observing(Arm, PoseStamped) as robot,
        node_process(MONITOR, bundle=tracking[0], **PARAMETERS),
    ):
        robot.wait_for_reason(
            "publishes geometry_msgs/msg/PoseStamped there, expected sensor_msgs/msg/Joint"
        )
        assert robot.state() == "STALE"


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
