# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Commands as sent count live as in the bag and its archive, or the monitor says why not."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import Twist
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Header
from testbed import replayed_robot
from testbed.bags import BEGIN, PERIOD, BagBuilder
from testbed.joint_score import CommandTelltale
from testbed.replayed_robot import calibrated_from_bags, known
from testbed.ros_graph import DISCOVERY, Observer, node_process, observing
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.additions import with_joints, with_message_types
from failure_monitor.bundle.folder import load, save
from failure_monitor.joint_motion import JointMotion, JointMotionError
from failure_monitor.ros.common.messages import action_chunks_message, embedding_message
from failure_monitor.ros.monitor.joint_input import MAX_WAITING, _Commands
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import Topics

pytestmark = pytest.mark.ros

MONITOR = "testbed.joint_score"
COMMAND = "/arm/command"
READING = {
    "topics": Topics(commands=COMMAND),
    "action_kind": "delta",
    "executed_actions": 2,
}
PARAMETERS = {**replayed_robot.PARAMETERS, "max_unscored": 0}
UNKNOWN = f"the commands as sent on '{COMMAND}' are unknown: "


@pytest.fixture(scope="module", autouse=True)
def known_score():
    yield from known(CommandTelltale)


def read(*paths: Path) -> RolloutSet:
    return read_rollouts(paths, **READING)


def write_bag(path: Path, seed: int, decisions: int = 6) -> Path:
    random = np.random.default_rng(seed)
    with BagBuilder(path) as bag:
        for index, decision in enumerate(synthetic_rollout(seed).beginning(decisions).decisions()):
            stamp = BEGIN + index * PERIOD
            bag.floats(COMMAND, random.uniform(0, 5, 2), stamp - PERIOD // 2)
            bag.joint_state("/joint_states", ["elbow"], [0.5], stamp - PERIOD // 3)
            bag.embedding(decision.embedding, stamp)
            bag.chunks(decision.chunks, stamp, names=POLICY.action_names)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sent")
    calibrated, found = calibrated_from_bags(folder, write_bag, read, CommandTelltale.name)
    calibrated = with_joints(calibrated, found.joint_topics, found.commands_topic)
    save(with_message_types(calibrated, found.message_types), folder / "bundle")
    return folder / "bundle"


class Robot(Observer):
    """Sends commands, states its joints and publishes decisions, and keeps all in a bag."""

    def __init__(self, bag: BagBuilder) -> None:
        super().__init__(POLICY.action_names)
        self.commands = self._sender()
        self.joints = self.node.create_publisher(JointState, "/joint_states", 10)
        self.listen_to_monitor()
        self._decision = next(synthetic_rollout(0).decisions())
        self._bag = bag

    def _sender(self):
        return self.node.create_publisher(Float64MultiArray, COMMAND, QoSProfile(depth=100))

    def add_sender(self):
        """Add a second program that sends commands."""
        other = self._sender()
        self.wait_for(other.get_subscription_count, "the monitor to hear the second sender")
        return other

    def wait_until_there(self) -> None:
        self.wait_until_joints_are_heard()
        self.wait_for(self.commands.get_subscription_count, "the monitor to hear commands")

    def wait_until_joints_are_heard(self) -> None:
        self.wait_for_monitor_alarm()
        self.wait_for(self.joints.get_subscription_count, "the monitor to hear joints")

    def send(self, *values: float) -> None:
        """Send a command, well between two decisions."""
        self.spin(0.02)
        self.commands.publish(Float64MultiArray(data=values))
        self._bag.floats(COMMAND, values, time.time_ns())
        self.spin(0.02)

    def decide(self) -> None:
        now = self.node.get_clock().now()
        stamp = now.nanoseconds
        state = JointState(name=["elbow"], position=[0.5])
        header = Header(stamp=now.to_msg())
        state.header = header
        self.joints.publish(state)
        # Topics keep no order among one another.
        self.spin(0.1)
        self.embeddings.publish(embedding_message(self._decision.embedding, header))
        chunks, names = self._decision.chunks, POLICY.action_names
        self.chunks.publish(action_chunks_message(chunks, names, header))
        self._bag.joint_state("/joint_states", ["elbow"], [0.5], stamp)
        received = time.time_ns()
        self._bag.embedding(self._decision.embedding, stamp, received)
        self._bag.chunks(chunks, stamp, received, names=names)
        self.spin(0.05)

    def recover(self) -> None:
        """Go on until commands are permitted, with a command before every decision."""

        def step() -> None:
            self.send(0.5, 0.5)
            self.decide()

        self.step_until_permitted(step)

    def wait_for_note(self, note: str) -> None:
        """Wait until this has been a problem, while another one holds the halt."""
        self.wait_for(
            lambda: any(
                note in value.value
                for alarm in self.received["/failure_monitor/alarm"]
                for value in alarm.values
            ),
            f"the note '{note}'",
        )


@contextmanager
def robot_recorded(path: Path) -> Iterator[Robot]:
    """A robot of which all is in the bag once it has ended."""
    with BagBuilder(path) as bag, observing(Robot, bag) as robot:
        yield robot


@pytest.fixture
def robot(tmp_path):
    with robot_recorded(tmp_path / "recorded") as robot:
        yield robot


def test_live_commands_are_those_of_the_bag_and_of_its_archive(bundle, tmp_path):
    live = []
    with (
        robot_recorded(tmp_path / "recorded") as robot,
        node_process(MONITOR, bundle=bundle, **PARAMETERS),
    ):
        robot.wait_until_there()
        for number in range(5):
            # A burst, one, and none at all.
            for index in range((number * 7) % 3 * 5):
                robot.send(number + 0.1 * index, 0.3)
            robot.decide()
            live.append(float(robot.wait_for_decision(number)[CommandTelltale.name]))
    known = read(tmp_path / "recorded")
    (rollout,) = known.rollouts
    assert rollout.joints is not None
    assert rollout.joints.commands is not None
    assert 1 < np.isnan(rollout.joints.commands[:, 0]).sum() < len(rollout)
    expected = CommandTelltale().score_rollout(rollout)
    assert len(np.unique(expected)) > 2
    assert live == pytest.approx(expected.tolist(), rel=1e-3)
    write_archive(tmp_path / "set.npz", known)
    (archived,) = read(tmp_path / "set.npz").rollouts
    np.testing.assert_array_equal(CommandTelltale().score_rollout(archived), expected)


def test_commands_that_stop_are_stale_with_the_reason_and_a_reset_lets_them_come_again(
    bundle, robot
):
    with node_process(MONITOR, bundle=bundle, **PARAMETERS) as process:
        robot.wait_until_there()
        robot.recover()
        # Commands need not come before every decision.
        for _ in range(2):
            robot.decide()
        assert robot.permitted(), robot.reason()
        for _ in range(2):
            robot.decide()
        robot.wait_for_reason(f"{UNKNOWN}none has come since 3 decisions, although commands may")
        robot.wait_for_stop("STALE")
        # A closed gate sends none: that alone must not keep it closed.
        robot.recover()
        # Commands go on, but no longer with the values that scores need.
        for _ in range(4):
            robot.send(0.5, 0.5, 0.5)
            robot.decide()
        robot.wait_for_reason(f"{UNKNOWN}no 1 of 2, 2 of 2 has come since 3 decisions, although")
        robot.wait_for_stop("STALE")
        robot.recover()
        assert process.is_running


def test_commands_unlike_those_of_calibration_permit_nothing(bundle, robot):
    with node_process(MONITOR, bundle=bundle, **PARAMETERS) as process:
        robot.wait_until_there()
        robot.recover()
        robot.send(0.5, math.nan)
        robot.decide()
        robot.wait_for_reason(f"{UNKNOWN}2 of 2 is NaN or infinite: check who sends them")
        robot.wait_for_stop("STALE")
        robot.recover()
        # One that is gone is no longer counted, but what it sent is among the commands.
        other = robot.add_sender()
        other.publish(Float64MultiArray(data=[9.0, 9.0]))
        robot.spin(0.1)
        robot.node.destroy_publisher(other)
        robot.wait_for_note(f"{UNKNOWN}several publishers have just sent some: stop all but one")
        robot.wait_for_stop("STALE")
        robot.recover()
        robot.add_sender()
        robot.wait_for_reason(f"{UNKNOWN}2 publishers on '{COMMAND}'")
        robot.wait_for_stop("STALE")
        assert process.is_running


def test_commands_that_cannot_come_are_named_before_any_is_permitted(bundle, robot):
    topic = "/arm/wish"
    with node_process(MONITOR, bundle=bundle, commands_topic=topic, **PARAMETERS):
        robot.wait_until_joints_are_heard()
        robot.decide()
        start = f"the commands as sent on '{topic}' are unknown: none has come so far: "
        robot.wait_for_reason(f"{start}no node publishes there")
        robot.node.create_publisher(Twist, topic, 10)
        robot.wait_for_reason("publishes geometry_msgs/msg/Twist there, expected std_msgs/msg/Fl")
        assert not robot.permitted()


def test_other_commands_than_those_of_calibration_are_named(bundle, robot):
    with node_process(MONITOR, bundle=bundle, **PARAMETERS):
        robot.wait_until_there()
        robot.send(1.0, 2.0, 3.0)
        robot.decide()
        robot.wait_for_reason(f"{UNKNOWN}they lack 1 of 2, 2 of 2, which those of calibration had")
        assert robot.state() == "STALE"


def test_the_bundle_keeps_what_it_needs_of_commands(bundle):
    section = load(bundle).description.joints
    assert section is not None
    assert (section.commands, section.commands_topic) == (CommandTelltale.command_names, COMMAND)


def test_a_decision_before_which_many_commands_were_lost_is_not_scored():
    with observing(Observer, POLICY.action_names) as observer:
        node = observer.node
        commands = _Commands(node, COMMAND, "std_msgs/msg/Float64MultiArray", ["1 of 1"])
        publisher = node.create_publisher(Float64MultiArray, COMMAND, QoSProfile(depth=1000))

        def take(count: int) -> JointMotion:
            wanted = commands.topic.stream.received + min(count, MAX_WAITING)
            for _ in range(count):
                publisher.publish(Float64MultiArray(data=[2.0]))
            end = time.monotonic() + DISCOVERY
            while commands.topic.stream.received < wanted:
                assert time.monotonic() < end
                commands.collect()
            now = node.get_clock().now().nanoseconds
            return commands.take(now, JointMotion((), np.zeros(0), np.zeros(0)))

        end = time.monotonic() + DISCOVERY
        while not publisher.get_subscription_count() or not commands.topic.publishers:
            assert time.monotonic() < end
            time.sleep(0.01)
        take(1)
        nothing = take(0)
        assert np.isnan(nothing.commands).all()
        assert take(100).commands == [2.0]
        with pytest.raises(JointMotionError, match=r"\d+ of 700 were lost before this decision"):
            take(700)
        assert take(100).commands == [2.0]
        # What was lost between rollouts is of no decision.
        commands.start_rollout()
        assert np.isnan(take(700).commands).all()
        assert take(100).commands == [2.0]
