# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bags hold what was on the wire, one per rollout, complete or not there."""

import signal

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader
from std_msgs.msg import Bool, String
from testbed.ros_graph import LATCHED, Observer, node_process, observing

RECORDER = "failure_monitor.ros.recording.record_node"

VOLATILE = QoSProfile(depth=10, durability=DurabilityPolicy.VOLATILE)

pytestmark = pytest.mark.ros


@pytest.fixture
def robot():
    with observing(Observer, action_names=["dx"]) as robot:
        robot.active = robot.node.create_publisher(Bool, "rollout/active", LATCHED)
        robot.words = robot.node.create_publisher(String, "words", 10)
        robot.active.publish(Bool(data=False))
        yield robot


def run_rollout(robot, *words: str) -> None:
    robot.wait_for(
        lambda: robot.active.get_subscription_count() and robot.words.get_subscription_count(),
        "the recorder",
    )
    robot.active.publish(Bool(data=True))
    robot.spin(0.3)
    for word in words:
        robot.words.publish(String(data=word))
    robot.spin(0.3)
    robot.active.publish(Bool(data=False))


def read(path, *topics) -> list[tuple[str, str | bool]]:
    types = {
        **dict.fromkeys(
            ("/rollout/active", "/rollout/success", "/rollout/label", "/intervention"), Bool
        ),
        "/words": String,
    }
    with Reader(path) as reader:
        chosen = [one for one in reader.connections if not topics or one.topic in topics]
        return [
            (connection.topic, deserialize_message(bytes(raw), types[connection.topic]).data)
            for connection, _, raw in reader.messages(chosen)
        ]


def test_one_bag_per_rollout_holds_what_was_on_the_wire(robot, tmp_path):
    with node_process(RECORDER, topics="[words]", output=tmp_path, tail=0.2):
        run_rollout(robot, "first", "rollout")
        robot.wait_for(lambda: (tmp_path / "rollout_0000").exists(), "the first bag")
        robot.words.publish(String(data="between"))
        run_rollout(robot, "second")
        robot.wait_for(lambda: (tmp_path / "rollout_0001").exists(), "the second bag")
    assert read(tmp_path / "rollout_0000") == [
        ("/rollout/active", True),
        ("/words", "first"),
        ("/words", "rollout"),
        ("/rollout/active", False),
    ]
    assert ("/words", "second") in read(tmp_path / "rollout_0001")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rollout_0000", "rollout_0001"]


def test_a_bag_in_the_making_is_finished_when_the_recorder_ends(robot, tmp_path):
    with node_process(RECORDER, topics="[words]", output=tmp_path, tail=30.0) as process:
        run_rollout(robot, "word")
        robot.spin(0.3)
        assert not (tmp_path / "rollout_0000").exists()
        code, output = process.end(signal.SIGTERM)
    assert code == 0, output
    assert ("/words", "word") in read(tmp_path / "rollout_0000")


def test_a_bag_begins_with_a_human_who_took_over_before_it(robot, tmp_path):
    human = robot.node.create_publisher(Bool, "intervention", 10)
    with node_process(RECORDER, topics="[words]", output=tmp_path, tail=0.2):
        robot.wait_for(human.get_subscription_count, "the recorder")
        human.publish(Bool(data=True))
        robot.spin(0.3)
        run_rollout(robot, "word")
        robot.wait_for(lambda: (tmp_path / "rollout_0000").exists(), "the bag")
    found = read(tmp_path / "rollout_0000")
    assert found[0] == ("/intervention", True)


def test_a_bag_holds_the_label_and_the_outcome_of_its_own_rollout(robot, tmp_path):
    label = robot.node.create_publisher(Bool, "rollout/label", LATCHED)
    outcome = robot.node.create_publisher(DiagnosticStatus, "failure_monitor/outcome", LATCHED)
    with node_process(RECORDER, topics="[words]", output=tmp_path, tail=1.0):
        for publisher in (label, outcome):
            robot.wait_for(publisher.get_subscription_count, "the recorder")
        run_rollout(robot, "word")
        outcome.publish(DiagnosticStatus(message="confirmed"))
        label.publish(Bool(data=False))
        robot.wait_for(lambda: (tmp_path / "rollout_0000").exists(), "the first bag")
        run_rollout(robot, "word")
        robot.wait_for(lambda: (tmp_path / "rollout_0001").exists(), "the second bag")
    topics = ("/rollout/label", "/failure_monitor/outcome")
    assert len(read(tmp_path / "rollout_0000", topics[0])) == 1
    for path, messages in (("rollout_0000", 1), ("rollout_0001", 0)):
        with Reader(tmp_path / path) as reader:
            counts = {one.topic: one.msgcount for one in reader.connections}
        assert [counts.get(topic, 0) for topic in topics] == [messages, messages]


def test_bags_carry_what_was_offered_and_what_was_published_once(robot, tmp_path):
    placed = robot.node.create_publisher(String, "words", LATCHED)
    robot.node.destroy_publisher(robot.words)
    robot.words = placed
    placed.publish(String(data="once"))
    outcome = robot.node.create_publisher(Bool, "rollout/success", LATCHED)
    with node_process(RECORDER, topics="[words, rollout/success]", output=tmp_path, tail=0.2):
        robot.wait_for(outcome.get_subscription_count, "the recorder")
        run_rollout(robot)
        outcome.publish(Bool(data=True))
        robot.wait_for(lambda: (tmp_path / "rollout_0000").exists(), "the first bag")
        other = robot.node.create_publisher(String, "words", VOLATILE)
        robot.wait_for(other.get_subscription_count, "the recorder")
        run_rollout(robot, "more")
        robot.wait_for(lambda: (tmp_path / "rollout_0001").exists(), "the second bag")
    first = read(tmp_path / "rollout_0000")
    assert first[:2] == [("/words", "once"), ("/rollout/active", True)]
    assert set(first[2:]) == {("/rollout/active", False), ("/rollout/success", True)}
    # The outcome was that of the rollout before.
    assert read(tmp_path / "rollout_0001") == [
        ("/words", "once"),
        ("/rollout/active", True),
        ("/words", "more"),
        ("/rollout/active", False),
    ]
    assert offered_durability(tmp_path / "rollout_0000") == {
        "/words": [QosDurability.TRANSIENT_LOCAL],
        "/rollout/active": [QosDurability.TRANSIENT_LOCAL],
        "/rollout/success": [QosDurability.TRANSIENT_LOCAL],
    }
    assert offered_durability(tmp_path / "rollout_0001")["/words"] == [
        QosDurability.TRANSIENT_LOCAL,
        QosDurability.VOLATILE,
    ]


def offered_durability(bag) -> dict[str, list[QosDurability]]:
    with Reader(bag) as reader:
        return {
            connection.topic: [one.durability for one in connection.ext.offered_qos_profiles]
            for connection in reader.connections
        }


def test_topic_that_cannot_be_recorded_is_left_out_and_named(robot, tmp_path):
    recorder = "testbed.recorder_without_package"
    with node_process(recorder, topics="['*o*']", output=tmp_path, tail=0.2) as process:
        run_rollout(robot, "first")
        robot.wait_for(lambda: (tmp_path / "rollout_0000").exists(), "the first bag")
        robot.node.create_publisher(Point, "points", 10)
        robot.spin(1.0)
        run_rollout(robot, "second")
        robot.wait_for(lambda: (tmp_path / "rollout_0001").exists(), "the second bag")
        code, output = process.end()
    assert code == 0, output
    assert ("/words", "second") in read(tmp_path / "rollout_0001", "/words")
    reason = "'/points': the message type geometry_msgs/msg/Point is not installed"
    assert output.count(reason) == 2, output
    assert f"rollout_0001 is not complete: {reason}" in output, output


def test_without_a_folder_it_ends_with_one_sentence(robot: Node):
    with node_process(RECORDER, topics="[words]") as process:
        process._process.wait(timeout=20)
        code, output = process.end()
    assert code == 2
    assert "the parameter 'output' is empty" in output


@pytest.mark.parametrize("boundary", ["rollout/active", "policy/active"])
def test_every_bag_holds_what_the_policy_stated_last(robot, tmp_path, boundary):
    robot.node.destroy_publisher(robot.active)
    robot.active = robot.node.create_publisher(Bool, boundary, LATCHED)
    robot.active.publish(Bool(data=False))
    stated = robot.node.create_publisher(String, "policy/format", LATCHED)
    stated.publish(String(data='{"policy": "first"}'))
    with node_process(
        RECORDER, topics="[words]", boundary_topic=boundary, output=tmp_path, tail=0.2
    ):
        robot.wait_for(stated.get_subscription_count, "the recorder")
        robot.spin(0.5)
        for number in range(2):
            run_rollout(robot)
            bag = tmp_path / f"rollout_000{number}"
            robot.wait_for(bag.exists, "the bag")
        # Swapped between two rollouts.
        stated.publish(String(data='{"policy": "second"}'))
        robot.spin(0.3)
        run_rollout(robot)
        robot.wait_for((tmp_path / "rollout_0002").exists, "the bag")
        # The policy leaves, and another one decides that states nothing.
        robot.node.destroy_publisher(stated)
        robot.spin(0.3)
        run_rollout(robot)
        robot.wait_for((tmp_path / "rollout_0003").exists, "the bag")
    with Reader(tmp_path / "rollout_0003") as reader:
        assert "/policy/format" not in {message.topic for message, _, _ in reader.messages()}
    for number, policy in enumerate(("first", "first", "second")):
        with Reader(tmp_path / f"rollout_000{number}") as reader:
            [(first, time, raw), *others] = reader.messages()
            assert first.topic == "/policy/format"
            assert deserialize_message(bytes(raw), String).data == f'{{"policy": "{policy}"}}'
            assert all(time < later for _, later, _ in others)
            assert "/policy/format" not in {one.topic for one, _, _ in others}
