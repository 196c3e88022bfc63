# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A score of joints judges beside the robot as in the robot's bag and archive, or says why not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from testbed import replayed_robot
from testbed.bags import BEGIN, PERIOD, SECOND, BagBuilder
from testbed.joint_score import QUANTITIES, JointTelltale
from testbed.replayed_robot import CHUNKS, ReplayedRobot, calibrated_from_bags, known
from testbed.ros_graph import node_process, observing
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.additions import with_joints
from failure_monitor.bundle.folder import load, save
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import Topics

pytestmark = pytest.mark.ros

MONITOR = "testbed.joint_score"
JOINTS, GRIPPER = "/joint_states", "/gripper/joint_states"
MILLISECOND = SECOND // 1000
READING = {
    "topics": Topics(more_joints=(GRIPPER,)),
    "action_kind": "delta",
    "executed_actions": 2,
}
PARAMETERS = {**replayed_robot.PARAMETERS, "max_unscored": 0}


@pytest.fixture(scope="module", autouse=True)
def known_score():
    yield from known(JointTelltale)


def write_bag(path: Path, seed: int, decisions: int = 6) -> Path:
    """Joint states in parts, in other orders, late, and a gripper on a topic of its own."""
    random = np.random.default_rng(seed)
    rollout = synthetic_rollout(seed).beginning(decisions)
    with BagBuilder(path) as bag:
        for index, decision in enumerate(rollout.decisions()):
            stamp = BEGIN + index * PERIOD
            for at in (-40, -20):
                whole = stamp + at * MILLISECOND
                value = random.normal(size=8)
                bag.joint_state(
                    JOINTS, ["lamp", "elbow", "wrist"], value[:3], whole, efforts=value[3:6]
                )
                bag.joint_state(GRIPPER, ["finger"], value[6:7], whole + 1)
                bag.joint_state(JOINTS, ["wrist"], value[7:], whole + 2)
            late = stamp - 30 * MILLISECOND
            value = random.normal(size=4)
            bag.joint_state(
                JOINTS, ["wrist", "elbow"], value[:2], late, whole + 4, efforts=value[2:]
            )
            complete = stamp + 20 * MILLISECOND
            bag.embedding(decision.embedding, stamp, received=complete)
            bag.chunks(decision.chunks, stamp, names=POLICY.action_names, received=complete)
            # Of the decision, but received after it.
            bag.joint_state(JOINTS, ["elbow", "wrist"], [9.0, 9.0], stamp, complete + MILLISECOND)
    return path


def read(*paths: Path) -> RolloutSet:
    return read_rollouts(paths, **READING)


@pytest.fixture(scope="module")
def telltale(tmp_path_factory):
    """A bundle, and a bag of another rollout."""
    folder = tmp_path_factory.mktemp("joints")
    calibrated, found = calibrated_from_bags(folder, write_bag, read, JointTelltale.name)
    save(with_joints(calibrated, found.joint_topics), folder / "bundle")
    return folder / "bundle", write_bag(folder / "other", 99)


class Robot(ReplayedRobot):
    """States its joints and its gripper on topics of their own."""

    def __init__(self) -> None:
        super().__init__({JOINTS: JointState, GRIPPER: JointState})

    def state_joints(self, names=("wrist", "elbow"), efforts=(1.0, 2.0), position=0.5) -> None:
        message = JointState(name=names, position=[position] * len(names), effort=list(efforts))
        message.header = self.header()
        self.publish(JOINTS, message)

    def state_finger(self, ahead: int = 0) -> None:
        message = JointState(name=["finger"], position=[0.5])
        message.header = self.header(ahead)
        self.publish(GRIPPER, message)

    def recover(self) -> None:
        def step() -> None:
            self.state_finger()
            self.state_joints()
            self.decide_next()
            self.spin(0.1)

        self.step_until_permitted(step)


@pytest.fixture
def robot():
    with observing(Robot) as robot:
        yield robot


def test_live_scores_are_those_of_the_bag_and_of_its_archive(telltale, robot, tmp_path):
    bundle, bag = telltale
    write_archive(tmp_path / "set.npz", read(bag))
    (rollout,) = read(bag).rollouts
    (archived,) = read(tmp_path / "set.npz").rollouts
    expected = JointTelltale().score_rollout(rollout)
    assert len(np.unique(expected)) == len(rollout)
    np.testing.assert_array_equal(JointTelltale().score_rollout(archived), expected)
    with node_process(MONITOR, bundle=bundle, **PARAMETERS):
        robot.wait_until_there()
        number = 0
        for topic in robot.replay(bag):
            if topic == CHUNKS:
                values = robot.wait_for_decision(number)
                assert float(values[JointTelltale.name]) == pytest.approx(
                    expected[number], rel=1e-4
                )
                number += 1
        assert number == len(rollout)


def test_what_is_not_known_of_the_joints_is_named_and_nothing_is_permitted(telltale, robot):
    def nothing() -> None:
        pass

    faults = {
        "no effort of elbow, wrist has come with a stamp between": lambda: robot.state_joints(
            efforts=()
        ),
        "the effort of wrist is NaN or infinite": lambda: robot.state_joints(
            efforts=(math.nan, 1.0)
        ),
        "all efforts are 0, as of a robot that measures none": lambda: robot.state_joints(
            efforts=(0.0, 0.0)
        ),
        "no position of elbow, wrist and the effort of elbow, wrist has come": nothing,
    }
    with node_process(MONITOR, bundle=telltale[0], **PARAMETERS) as process:
        robot.wait_until_there()
        # Another order, more joints, another rate.
        robot.recover()
        robot.state_finger()
        for _ in range(5):
            robot.state_joints(("elbow", "lamp", "wrist"), (1.0, 5.0, 2.0))
        robot.decide_next()
        robot.spin(0.3)
        assert robot.permitted(), robot.reason()
        for reason, fault in faults.items():
            robot.recover()
            for _ in range(2):
                robot.state_finger()
                fault()
                robot.decide_next()
            robot.wait_for_reason(f"what the joints did is unknown: {reason}")
            robot.wait_for_stop("STALE")
        assert process.is_running


@pytest.mark.law(10)
def test_two_robots_on_one_topic_are_not_one_however_old_joint_states_may_be(telltale, robot):
    other = robot.node.create_publisher(JointState, JOINTS, 100)
    with node_process(MONITOR, bundle=telltale[0], **PARAMETERS):
        robot.wait_until_there()
        robot.wait_for(other.get_subscription_count, "the monitor to hear the other robot")
        robot.recover()
        first = robot.publishers[JOINTS]
        for publisher in (other, first, other):
            robot.publishers[JOINTS] = publisher
            robot.state_joints()
        robot.wait_for_reason(
            f"several publishers on '{JOINTS}' state the position of wrist, elbow: stop all but"
        )
        robot.wait_for_stop("STALE")


def test_other_joints_than_those_of_calibration_are_named_before_any_decision(telltale, robot):
    with node_process(MONITOR, bundle=telltale[0], **PARAMETERS):
        robot.wait_until_there()
        for _ in range(3):
            robot.state_joints(("elbow", "left_wrist"), ())
        robot.wait_for_reason(
            f"no message on {JOINTS} or {GRIPPER} states the position of wrist, finger and the "
            "effort of elbow, wrist, which calibration had; other joints are left_wrist"
        )
        assert robot.state() == "STALE"


def test_a_gripper_whose_topic_is_not_named_is_missing(telltale, robot):
    with node_process(
        MONITOR, bundle=telltale[0], more_joint_states_topics=["/other"], **PARAMETERS
    ):
        robot.wait_for_monitor_alarm()
        robot.wait_for(robot.publishers[JOINTS].get_subscription_count, "the monitor to subscribe")
        robot.state_joints()
        robot.wait_for_reason(f"no message on {JOINTS} or /other states the position of finger")


def test_the_bundle_keeps_what_it_needs_of_joints(telltale):
    section = load(telltale[0]).description.joints
    assert section is not None
    assert section.quantities == QUANTITIES
    assert section.topics == (JOINTS, GRIPPER)
