# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Robot and policy as processes that talk over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from rcl_interfaces.msg import Log
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState, PointCloud2
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from testbed.parallel import spare_ros_domain

from failure_monitor.demo import jpeg
from failure_monitor.demo.node_processes import NodeProcesses
from failure_monitor.demo.qos import CAMERA_QOS, JOINT_QOS
from failure_monitor.demo.robot_client import RobotClient
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.point_cloud import read_action_chunks
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_QOS

pytestmark = pytest.mark.ros

TASK = "drawer-open-v3"
TIMEOUT = 60.0
UNDISTURBED = {
    "task": TASK,
    "seed": 1,
    "perturbation": "none",
    "time_limit": 0.0,
    "claims": False,
}


class Graph:
    """A node that hears everything, beside the robot and the policy."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.robot = RobotClient(node)
        self.received: dict[str, list[Any]] = {}
        self._listen("camera/image_raw/compressed", CompressedImage, CAMERA_QOS)
        self._listen("joint_states", JointState, JOINT_QOS)
        self._listen("policy/embedding", PointCloud2, DECISION_QOS)
        self._listen("policy/action_chunks", PointCloud2, DECISION_QOS)
        self._listen("policy/command", Float64MultiArray, 10)
        self._listen("perturbation/active", String, LATCHED_QOS)
        self._listen("rollout/truth", Bool, LATCHED_QOS)
        self._listen("/rosout", Log, 100)

    def _listen(self, topic: str, message_type: type, qos: Any) -> None:
        messages = self.received.setdefault(topic, [])

        def store(message: Any) -> None:
            messages.append(message)

        self.node.create_subscription(message_type, topic, store, qos)

    def forget(self) -> None:
        for messages in self.received.values():
            messages.clear()

    def stamps(self, topic: str) -> list[int]:
        return [stamp_nanoseconds(message.header.stamp) for message in self.received[topic]]

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.05)

    def spin_until(self, condition: Callable[[], bool]) -> None:
        self.robot.spin_until(condition, TIMEOUT)

    def call(self, service_type: type, name: str, request: Any) -> Any:
        client = self.node.create_client(service_type, name)
        assert client.wait_for_service(TIMEOUT)
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self.node, future, timeout_sec=TIMEOUT)
        return future.result()


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    domain = {"ROS_DOMAIN_ID": os.environ["ROS_DOMAIN_ID"]}
    with NodeProcesses(domain, sys.stderr) as nodes:
        nodes.start("demo.robot_node", {"task": TASK}, {"command": "policy/command"})
        nodes.start("demo.policy_node", {"task": TASK})
        rclpy.init()
        node = rclpy.create_node("listener")
        graph = Graph(node)
        graph.robot.wait_for_robot(TIMEOUT)
        graph.call(SetBool, "policy/pause", SetBool.Request(data=False))
        graph.spin_until(lambda: all(graph.received[t] for t in ("joint_states",)))
        yield graph
        node.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture(autouse=True)
def between_rollouts(graph: Graph) -> Iterator[None]:
    yield
    graph.call(Trigger, "robot/stop", Trigger.Request())
    graph.call(SetBool, "policy/pause", SetBool.Request(data=False))
    graph.spin(0.3)
    graph.forget()


def test_success_is_claimed_of_a_drawer_that_is_half_open(graph: Graph):
    graph.spin(0.2)
    graph.forget()
    nearer = {**UNDISTURBED, "perturbation": "nearer", "strength": 1.0, "claims": True}
    assert graph.robot.roll_out(nearer, TIMEOUT), "its caller claims success"
    graph.spin_until(lambda: bool(graph.received["rollout/truth"]))
    assert [message.data for message in graph.received["rollout/truth"]] == [False]


def test_an_undisturbed_rollout_succeeds_and_every_decision_is_published(graph: Graph):
    graph.spin(0.2)
    graph.forget()
    assert graph.robot.roll_out(UNDISTURBED, TIMEOUT)
    graph.spin(0.2)
    frames = graph.stamps("camera/image_raw/compressed")
    embeddings, chunks = graph.received["policy/embedding"], graph.received["policy/action_chunks"]
    assert set(graph.stamps("policy/embedding")) <= set(frames)
    assert graph.stamps("policy/embedding") == graph.stamps("policy/action_chunks")
    assert len(embeddings) >= 12
    assert [field.name for field in chunks[0].fields] == ["dx", "dy", "dz", "gripper"]
    assert (chunks[0].height, chunks[0].width) == (64, 8)
    # One command a frame, two frames a decision; the first frame has none to go by yet.
    assert len(graph.received["policy/command"]) >= 2 * len(embeddings) - 2


def test_the_first_command_waits_until_the_gate_is_open_but_not_for_ever(graph: Graph):
    gate = graph.node.create_publisher(Bool, "failure_monitor_gate/open", LATCHED_QOS)
    commands, decisions = graph.received["policy/command"], graph.received["policy/embedding"]
    gate.publish(Bool(data=False))
    graph.spin_until(lambda: gate.get_subscription_count() > 0)
    graph.spin(1.0)
    graph.forget()
    graph.robot.begin(UNDISTURBED, TIMEOUT)
    graph.spin_until(lambda: len(decisions) == 1)
    graph.spin(0.5)
    assert (len(commands), len(decisions)) == (0, 1)
    gate.publish(Bool(data=True))
    graph.spin_until(lambda: len(commands) > 3)
    _, chunks = read_action_chunks(graph.received["policy/action_chunks"][0])
    np.testing.assert_allclose(commands[0].data, chunks[0, 1])
    gate.publish(Bool(data=False))
    sent = len(commands)
    graph.spin_until(lambda: len(commands) > sent + 10)
    graph.call(Trigger, "robot/stop", Trigger.Request())
    graph.spin(0.3)
    graph.forget()
    graph.robot.begin(UNDISTURBED, TIMEOUT)
    graph.spin_until(lambda: bool(commands))
    said = graph.received["/rosout"]
    graph.spin_until(lambda: any("the gate has not opened within 2 s" in log.msg for log in said))
    graph.node.destroy_publisher(gate)


def test_observations_come_at_rate_with_stamps_frames_and_names(graph: Graph):
    graph.forget()
    graph.spin(1.5)
    images, joints = graph.received["camera/image_raw/compressed"], graph.received["joint_states"]
    # Twenty and eighty per second, less what a busy machine leaves out.
    assert 12 <= len(images) <= 33
    assert 60 <= len(joints) <= 132
    assert jpeg.decode(bytes(images[0].data)).shape == (96, 96, 3)
    assert (images[0].header.frame_id, joints[0].header.frame_id) == ("camera", "base")
    assert joints[0].name[0] == "right_j0"
    assert len(joints[0].name) == len(joints[0].position) == len(joints[0].velocity) == 9
    assert (np.diff(graph.stamps("camera/image_raw/compressed")) > 0).all()
    assert not graph.received["policy/embedding"]


def test_a_perturbation_is_announced_at_its_onset(graph: Graph):
    graph.robot.begin(
        {**UNDISTURBED, "perturbation": "light", "strength": 1.0, "onset": 0.5}, TIMEOUT
    )
    announced = graph.received["perturbation/active"]
    graph.spin_until(lambda: [message.data for message in announced][-2:] == ["none", "light"])
    graph.spin_until(lambda: graph.robot.outcome is not None)
    assert graph.robot.outcome is False


def test_stop_ends_a_rollout_as_a_failure(graph: Graph):
    graph.robot.begin(UNDISTURBED, TIMEOUT)
    graph.spin(0.3)
    assert graph.call(Trigger, "robot/stop", Trigger.Request()).success
    graph.spin_until(lambda: graph.robot.outcome is not None)
    assert graph.robot.outcome is False


def test_parameters_are_refused_with_the_reason(graph: Graph):
    with pytest.raises(FailureMonitorError, match=r"no demo task 'fold-laundry'.*drawer-open-v3"):
        graph.robot.begin({"task": "fold-laundry"}, TIMEOUT)
    with pytest.raises(FailureMonitorError, match=r"no perturbation 'earthquake'"):
        graph.robot.begin({"perturbation": "earthquake"}, TIMEOUT)
    with pytest.raises(FailureMonitorError, match=r"rejects strength = 9.0"):
        graph.robot.begin({"strength": 9.0}, TIMEOUT)
    graph.robot.begin(UNDISTURBED, TIMEOUT)
    with pytest.raises(FailureMonitorError, match="a rollout is running"):
        graph.robot.begin({"seed": 2}, TIMEOUT)


def test_a_paused_policy_sends_nothing_and_the_arm_stands_still(graph: Graph):
    graph.robot.begin(UNDISTURBED, TIMEOUT)
    graph.spin_until(lambda: len(graph.received["policy/command"]) > 3)
    assert graph.call(SetBool, "policy/pause", SetBool.Request(data=True)).success
    graph.forget()
    # By the simulation's own steps, which a busy machine slows: 0.75 s to come to rest.
    graph.spin_until(lambda: len(graph.received["joint_states"]) > 60)
    graph.forget()
    graph.spin(0.5)
    assert not graph.received["policy/command"]
    assert not graph.received["policy/embedding"]
    positions = np.array([message.position for message in graph.received["joint_states"]])
    assert np.ptp(positions[:, :7], axis=0).max() < 0.01


def watch(nodes: NodeProcesses) -> None:
    while True:
        nodes.check()
        time.sleep(0.1)


def test_policy_node_refuses_an_unknown_task_with_one_sentence(capfd: pytest.CaptureFixture[str]):
    domain = {"ROS_DOMAIN_ID": os.environ["ROS_DOMAIN_ID"]}
    with NodeProcesses(domain, sys.stderr) as nodes:
        nodes.start("demo.policy_node", {"task": "fold-laundry"})
        with pytest.raises(FailureMonitorError, match="exit code 1"):
            watch(nodes)
    assert "there is no demo task 'fold-laundry'" in capfd.readouterr().err


def wait_for_a_node(domain: int, timeout: float) -> None:
    context = rclpy.Context()
    context.init(domain_id=domain)
    watcher = rclpy.create_node("watcher", context=context)
    give_up = time.monotonic() + timeout
    while len(watcher.get_node_names()) < 2 and time.monotonic() < give_up:
        time.sleep(0.1)
    names = watcher.get_node_names()
    watcher.destroy_node()
    context.shutdown()
    assert len(names) > 1, "the node did not start"
    # It is in the graph before it spins.
    time.sleep(1.0)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["robot_node", "policy_node"])
def test_a_node_ends_normally_on_a_signal(module: str, ending: signal.Signals):
    # A domain of its own: the graph under test has these nodes already.
    domain = spare_ros_domain()
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    command = [sys.executable, "-m", f"failure_monitor.demo.{module}"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for_a_node(domain, timeout=60.0)
    process.send_signal(ending)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors
