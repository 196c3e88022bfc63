# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever comes on the monitor's topics: named in the alarm's reason, no crash, never NOMINAL.

One process hears it all, one thing after the other, and goes on each time.
"""

from __future__ import annotations

import math
import time

import pytest
import rclpy
from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState, PointCloud2, PointField
from std_msgs.msg import Header
from testbed.ros_graph import Observer, node_process

from failure_monitor.ros.common.messages import action_chunks_message, embedding_message

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"
EMBEDDING, CHUNKS = "/policy/embedding", "/policy/action_chunks"
MAX_AGE = 1.0


class Policy(Observer):
    """Publishes decisions and joint states, well-formed or not."""

    def __init__(self, policy, decision) -> None:
        super().__init__(policy.action_names)
        self.names = policy.action_names
        self.decision = decision
        self.joints = self.node.create_publisher(JointState, "joint_states", 10)
        self.node.create_timer(0.1, self._publish_joints)
        self.make_joints_sound()

    def header(self, *, earlier: float = 0.0) -> Header:
        """Of a decision now, or some seconds ago."""
        nanoseconds = time.time_ns() - round(1e9 * earlier)
        return Header(stamp=Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9))

    def embedding_message(self, header: Header) -> PointCloud2:
        return embedding_message(self.decision.embedding, header)

    def chunks_message(self, header: Header) -> PointCloud2:
        return action_chunks_message(self.decision.chunks, self.names, header)

    def decide_now(self) -> None:
        header = self.header()
        self.embeddings.publish(self.embedding_message(header))
        self.chunks.publish(self.chunks_message(header))

    def decide_until(self, condition, what: str) -> None:
        self.repeat_until(self.decide_now, condition, what)

    def make_joints_sound(self) -> None:
        """Let the joint states be as they should, whatever a test that failed left of them."""
        self.position = 0.0
        self.joint_names = ["shoulder", "elbow"]
        self.joints_move = True

    def recover(self) -> None:
        """A new rollout, well-formed decisions and joints, and a reset permit again."""
        self.make_joints_sound()
        self.trigger("/failure_monitor/start_rollout")
        self.decide_until(
            lambda: "cause is gone" in self.reason() or self.state() == "NOMINAL", "recovery"
        )
        if self.state() != "NOMINAL":
            self.trigger("/failure_monitor/reset")
        self.decide_until(lambda: self.permitted() and self.state() == "NOMINAL", "NOMINAL")

    def expect(self, state: str, *reasons: str) -> None:
        """A stop, for these reasons, by a monitor that lives on."""
        self.wait_for(
            lambda: self.state() == state and all(reason in self.reason() for reason in reasons),
            f"{state} for {reasons}",
        )
        self.wait_for(lambda: not self.permitted(), "the permit to be withdrawn")

    def _publish_joints(self) -> None:
        if self.joints_move:
            self.joints.publish(
                JointState(
                    header=self.header(),
                    name=self.joint_names,
                    position=[0.0, self.position],
                    effort=[math.nan, math.nan],
                )
            )


@pytest.fixture(scope="module")
def policy_and_monitor(bundle_folder, policy, rollouts):
    rclpy.init()
    node = Policy(policy, next(rollouts[0].decisions()))
    node.listen_to_monitor()
    parameters = {"max_joint_state_age": 0.5, "max_decision_age": MAX_AGE}
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=bundle_folder, **parameters
    ) as process:
        node.wait_for_monitor_alarm()
        yield node, process
        assert process.is_running
        _, output = process.end()
        assert "Traceback" not in output
    node.node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def robot(policy_and_monitor):
    """A policy whose decisions are judged NOMINAL; the monitor recovers afterwards."""
    node, process = policy_and_monitor
    node.recover()
    yield node
    node.recover()
    assert process.is_running


def cloud(message: PointCloud2, **changes) -> PointCloud2:
    for name, value in changes.items():
        setattr(message, name, value)
    return message


BROKEN_EMBEDDINGS = {
    "another field name": (
        {"fields": [PointField(name="features", datatype=7, count=6)]},
        "one FLOAT32 field 'embedding', got 1×1 with fields features",
    ),
    "doubles": (
        {"fields": [PointField(name="embedding", datatype=8, count=6)]},
        "one FLOAT32 field 'embedding'",
    ),
    "no fields": ({"fields": []}, "with fields none"),
    "big-endian": ({"is_bigendian": True}, "byte order is not this machine's"),
    "truncated": ({"data": b"\0" * 7}, "truncated, padded or empty"),
    "empty": ({"data": b""}, "truncated, padded or empty"),
    "a whole cloud": ({"height": 480, "width": 640}, "got 480×640"),
    "another size": (
        {
            "fields": [PointField(name="embedding", datatype=7, count=2)],
            "point_step": 8,
            "row_step": 8,
            "data": b"\0" * 8,
        },
        "embedding has shape (2,), expected (6,)",
    ),
}


@pytest.mark.parametrize("kind", BROKEN_EMBEDDINGS)
def test_a_broken_embedding(robot, kind):
    changes, reason = BROKEN_EMBEDDINGS[kind]
    header = robot.header()
    robot.embeddings.publish(cloud(robot.embedding_message(header), **changes))
    robot.chunks.publish(robot.chunks_message(header))
    robot.expect("ALARM", reason)


BROKEN_CHUNKS = {
    "other names": ({"names": ("dx", "dy", "yaw")}, "carries the actions ['dx', 'dy', 'yaw']"),
    "big-endian": ({"is_bigendian": True}, "byte order is not this machine's"),
    "truncated": ({"data": b"\0" * 100}, "truncated, padded or empty"),
    "no samples": ({"height": 0, "data": b""}, "truncated, padded or empty"),
    "another horizon": ({"horizon": 4}, "expected (B, H, D) = (16, 5, 3)"),
}


@pytest.mark.parametrize("kind", BROKEN_CHUNKS)
def test_broken_action_chunks(robot, kind):
    changes, reason = BROKEN_CHUNKS[kind]
    changes, header = dict(changes), robot.header()
    chunks = robot.decision.chunks[:, : changes.pop("horizon", None)]
    message = action_chunks_message(chunks, changes.pop("names", robot.names), header)
    robot.embeddings.publish(robot.embedding_message(header))
    robot.chunks.publish(cloud(message, **changes))
    robot.expect("ALARM", reason)


def test_a_stamp_of_0(robot):
    robot.embeddings.publish(robot.embedding_message(Header()))
    robot.expect("ALARM", f"'{EMBEDDING}': the header has no stamp")


def test_a_stamp_from_the_future(robot):
    header = robot.header()
    header.stamp.sec += 60
    robot.chunks.publish(robot.chunks_message(header))
    robot.expect("ALARM", f"'{CHUNKS}': the stamp is 60 s ahead of this machine's clock")


def test_stamps_that_go_back_and_then_go_on(robot):
    header = robot.header()
    header.stamp.sec -= 1000
    robot.embeddings.publish(robot.embedding_message(header))
    robot.expect("ALARM", f"'{EMBEDDING}': the stamps went back by 1e+03 s")


def test_messages_out_of_order_and_repeated_are_counted_and_not_judged(robot):
    header = robot.header(earlier=0.2)
    robot.decide_now()
    for _ in range(2):
        robot.embeddings.publish(robot.embedding_message(header))
        robot.chunks.publish(robot.chunks_message(header))
    robot.wait_for(
        lambda: any(
            int(values["out_of_order"]) >= 2 for values in diagnostics(robot, EMBEDDING)[-1:]
        ),
        "the diagnostics",
    )
    assert float(robot.alarm_values()["stamp"]) > header.stamp.sec + 1e-9 * header.stamp.nanosec


def diagnostics(robot, topic):
    """The values of a topic, oldest first."""
    return [
        {value.key: value.value for value in status.values}
        for array in robot.received["/diagnostics"]
        for status in array.status
        if status.name.endswith(f": input {topic.removeprefix('/')}")
    ]


@pytest.mark.parametrize("half", ["embedding", "chunks"])
def test_one_half_without_the_other(robot, half):
    deadline = time.monotonic() + 2 * MAX_AGE
    while time.monotonic() < deadline:
        header = robot.header()
        if half == "embedding":
            robot.embeddings.publish(robot.embedding_message(header))
        else:
            robot.chunks.publish(robot.chunks_message(header))
        robot.spin(0.2)
    if half == "embedding":
        robot.expect(
            "STALE", "the last decision is older", f"no message on '{CHUNKS}' for more than 1 s"
        )
    else:
        robot.expect(
            "STALE",
            "3 decisions in a row were not scored",
            f"no embedding with its stamp has come on '{EMBEDDING}'",
        )


def test_halves_whose_stamps_differ(robot):
    robot.trigger("/failure_monitor/start_rollout")

    def told() -> bool:
        robot.embeddings.publish(robot.embedding_message(robot.header()))
        robot.chunks.publish(robot.chunks_message(robot.header()))
        robot.spin(0.05)
        return "come with different stamps" in robot.reason()

    robot.wait_for(told, "the reason")
    robot.expect("STALE", "no decision since the rollout started")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_joint_whose_position_is_not_finite(robot, value):
    robot.position = value
    robot.decide_until(lambda: not robot.permitted(), "the permit to be withdrawn")
    robot.expect("STALE", "'/joint_states': the position of elbow is NaN or infinite")
    robot.position = 0.0


def test_a_joint_without_a_name_whose_position_is_not_finite(robot):
    robot.joint_names = ["shoulder"]
    robot.position = math.nan
    robot.decide_until(lambda: not robot.permitted(), "the permit to be withdrawn")
    robot.expect("STALE", "'/joint_states': the position of joint number 1 is NaN or infinite")
    robot.position = 0.0
    robot.joint_names = ["shoulder", "elbow"]


def test_joint_states_that_stop(robot):
    robot.joints_move = False
    robot.decide_until(lambda: not robot.permitted(), "the permit to be withdrawn")
    robot.expect("STALE", "no message on '/joint_states' for more than 0.5 s")
    robot.joints_move = True


def test_decisions_that_stop(robot):
    robot.expect("STALE", "than 1 s", "/observer publishes there, and is silent")


def test_a_second_publisher(robot):
    other = rclpy.create_node("other_policy")
    second = other.create_publisher(PointCloud2, EMBEDDING, 10)
    try:
        robot.decide_until(lambda: not robot.permitted(), "the permit to be withdrawn")
        robot.expect("STALE", f"2 publishers on '{EMBEDDING}' (/observer, /other_policy)")
    finally:
        other.destroy_publisher(second)
        other.destroy_node()
