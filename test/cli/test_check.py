# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`check` on real graphs: what runs well, what by-passes the gate, what hangs or is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import rclpy
from action_msgs.msg import GoalStatusArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Float64MultiArray, Header, String
from std_srvs.srv import Trigger
from testbed.check_command import check, lines_of
from testbed.command_line import COMMAND, run_here
from testbed.ros_graph import LATCHED, NodeProcess, Observer, observing

from failure_monitor.bundle.additions import with_stated_policy
from failure_monitor.bundle.folder import save
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.ros.common.messages import (
    action_chunks_message,
    embedding_message,
    stamp_message,
)

MONITOR, GATE = "failure_monitor.ros.monitor.node", "failure_monitor.ros.gate.node"
PERIOD = 0.1


class Robot(Observer):
    """A policy that decides ten times a second and commands, joints, and a controller."""

    def __init__(self, policy, rollout) -> None:
        super().__init__(policy.action_names)
        self._decisions = list(rollout.decisions())
        self._stamp = 0
        self._commands = self.node.create_publisher(Float64MultiArray, "command_in", 10)
        self._joints = self.node.create_publisher(
            JointState, "joint_states", qos_profile_sensor_data
        )
        self.listen("command_out", Float64MultiArray)
        self.node.create_timer(PERIOD, self._decide)
        self.node.create_timer(0.02, self._move)

    def wait_for_nodes(self, *topics: str) -> None:
        """Until somebody publishes on each of these."""
        self.wait_for(lambda: all(map(self.node.count_publishers, topics)), f"{topics}")

    def _decide(self) -> None:
        decision = self._decisions[0]
        # On a grid, so that a machine that is busy does not change the period.
        self._stamp = max(self._stamp + 1, int(time.time() / PERIOD))
        header = Header(stamp=stamp_message(round(self._stamp * PERIOD * 1e9)))
        self.embeddings.publish(embedding_message(decision.embedding, header))
        self.chunks.publish(action_chunks_message(decision.chunks, self._action_names, header))
        self._commands.publish(Float64MultiArray(data=[0.0]))

    def _move(self) -> None:
        header = Header(stamp=self.node.get_clock().now().to_msg())
        self._joints.publish(JointState(header=header, name=["elbow"], position=[0.0]))


@pytest.fixture
def robot(policy, rollouts) -> Iterator[Robot]:
    with observing(Robot, policy, rollouts[0]) as robot:
        yield robot


@contextmanager
def running(module: str, *arguments: object) -> Iterator[NodeProcess]:
    process = NodeProcess(module, *map(str, arguments))
    try:
        yield process
    finally:
        process.end()


@pytest.mark.ros
def test_what_runs_well_is_said_to(robot, bundle_folder, tmp_path):
    with running(MONITOR, "-p", f"bundle:={bundle_folder}"), running(GATE):
        robot.listen_to_monitor()
        robot.wait_for_monitor_alarm()
        robot.wait_for_nodes("/failure_monitor_gate/state")
        code, found, complaints = check(robot, bundle_folder, "--json", tmp_path / "found.json")
    assert code == 0, (found, complaints)
    assert found[-1].startswith("0 wrong, ")
    for topic in ("/policy/embedding", "/policy/action_chunks", "/joint_states", "/command_in"):
        [line] = lines_of(found, topic)
        assert line.startswith("(ok) ok    "), line
    assert "shape (16, 5, 3), dx dy gripper" in lines_of(found, "/policy/action_chunks")[0]
    assert "/failure_monitor_gate alone commands /observer" in lines_of(found, "/command_out")[0]
    content = json.loads((tmp_path / "found.json").read_text())
    assert len(content["findings"]) == len(found) - 1
    [monitor] = content["graph"]["monitors"]
    assert monitor["inputs"]["/policy/embedding"]["named"] == "policy/embedding"
    assert monitor["parameters"]["max_decision_age"] == -1.0
    assert content["graph"]["topics"]["/policy/embedding"]["messages"]["period"] == pytest.approx(
        PERIOD, rel=0.5
    )


@pytest.mark.ros
def test_a_policy_that_is_not_the_bundles_is_told(robot, bundle, tmp_path):
    stated = PolicyDescription(policy="act", checkpoint="a" * 64)
    save(with_stated_policy(bundle, stated), tmp_path / "bundle")
    publisher = robot.node.create_publisher(String, "policy/format", LATCHED)
    publisher.publish(String(data=stated.to_json()))
    with running(MONITOR, "-p", f"bundle:={tmp_path / 'bundle'}"), running(GATE):
        robot.listen_to_monitor()
        robot.wait_for_monitor_alarm()
        robot.wait_for_nodes("/failure_monitor_gate/state")
        _, found, _ = check(robot, tmp_path / "bundle")
        assert lines_of(found, "/policy/format") == [
            "(ok) ok    /policy/format: act aaaaaaaaaaaa of /observer"
        ]
        publisher.publish(String(data=replace(stated, checkpoint="b" * 64).to_json()))
        code, found, _ = check(robot, tmp_path / "bundle")
    assert code == 1
    [line] = lines_of(found, "/policy/format")
    assert "(checkpoint bbbbbbbbbbbb against aaaaaaaaaaaa)" in line


@pytest.mark.ros
def test_a_graph_that_cannot_work_is_told_in_every_respect(robot, bundle_folder):
    teleop = Node("teleop")
    teleop.create_publisher(Float64MultiArray, "command_out", 10)
    unreliable = Node("unreliable", namespace="vla")
    unreliable.create_publisher(PointCloud2, "/features", qos_profile_sensor_data)
    remap = ("-r", "policy/embedding:=/features")
    with (
        running(MONITOR, "-p", f"bundle:={bundle_folder}", *remap),
        running(GATE, "-p", "permit_topics:=[other/permit]"),
    ):
        robot.wait_for(robot.chunks.get_subscription_count, "the monitor")
        robot.wait_for_nodes("/failure_monitor_gate/state")
        code, found, _ = check(robot, bundle_folder)
        assert code == 1
        [bypass] = [line for line in lines_of(found, "/command_out") if "wrong" in line]
        assert "/teleop publishes directly to the robot, past /failure_monitor_gate" in bypass
        told = " ".join(lines_of(found, "/features"))
        assert "/vla/unreliable offers best effort, the monitor asks for reliable" in told
        assert "/failure_monitor receives nothing from /vla/unreliable" in told
        assert not lines_of(found, "/policy/embedding")
        [permit] = lines_of(found, "/other/permit")
        assert "no node publishes the permit that /failure_monitor_gate needs" in permit
        [unheard] = lines_of(found, "/failure_monitor/permit")
        assert "no node subscribes to the permit" in unheard
    teleop.destroy_node()
    unreliable.destroy_node()


class Controller(Node):
    """The arm's controller: it obeys the gate, and goals as well."""

    def __init__(self) -> None:
        super().__init__("arm_controller")
        self.create_subscription(Float64MultiArray, "command_out", lambda command: None, 10)
        # The types of the services of an action are in packages that need not be installed.
        action = "~/follow_joint_trajectory/_action"
        self.create_publisher(GoalStatusArray, f"{action}/status", LATCHED)
        self.create_service(Trigger, f"{action}/send_goal", lambda request, answer: answer)


@pytest.mark.ros
@pytest.mark.law(1)
def test_goals_that_pass_no_gate_and_a_stop_that_is_not_owed_are_named(
    robot, bundle_folder, tmp_path
):
    controller, planner = Controller(), Node("move_group")
    action = "/arm_controller/follow_joint_trajectory"
    planner.create_client(Trigger, f"{action}/_action/send_goal")
    halts = tmp_path / "halts.yaml"
    halts.write_text(
        f"""/**:
  ros__parameters:
    halt_menu: [goals]
    halt.goals.kind: cancel_goals
    halt.goals.target: {action}
"""
    )
    menu = ("--params-file", halts)
    with running(MONITOR, *menu, "-p", f"bundle:={bundle_folder}"), running(GATE):
        robot.listen_to_monitor()
        robot.wait_for_monitor_alarm()
        robot.wait_for_nodes("/failure_monitor_gate/state")
        code, found, complaints = check(robot, bundle_folder)
    controller.destroy_node()
    planner.destroy_node()
    assert code == 0, (found, complaints)
    [goals] = lines_of(found, action)
    assert "look" in goals
    assert "/arm_controller moves the robot by goals" in goals
    assert "(sent by /move_group)" in goals
    assert "a stop of /failure_monitor cancels them" in goals
    [debt] = [line for line in lines_of(found, "/failure_monitor_gate") if "owes no stop" in line]
    assert "sends nothing to stop command ('safe_command' is 'nothing')" in debt


@pytest.mark.ros
def test_a_monitor_that_is_known_and_silent_is_no_monitor():
    rclpy.init()
    hung = Node("failure_monitor")
    alarms = hung.create_publisher(DiagnosticStatus, "~/alarm", LATCHED)
    alarms.publish(DiagnosticStatus(level=DiagnosticStatus.OK, message="all is well"))
    code, found, _ = check(None)
    hung.destroy_node()
    rclpy.try_shutdown()
    assert code == 1
    [life] = lines_of(found, "/failure_monitor")
    assert life.startswith("[X] wrong")
    assert "publishes nothing on /failure_monitor/alarm: it hangs" in life


@pytest.mark.ros
def test_a_monitor_in_a_namespace_is_found_and_others_are_left_out(robot, bundle_folder):
    with (
        running(MONITOR, "-r", "__ns:=/left", "-p", f"bundle:={bundle_folder}"),
        running(MONITOR, "-r", "__ns:=/right"),
    ):
        robot.wait_for_nodes("/left/failure_monitor/alarm", "/right/failure_monitor/alarm")
        robot.wait_for(
            lambda: robot.node.count_subscribers("/left/policy/embedding"), "an active monitor"
        )
        code, found, _ = check(robot, "--namespace", "left")
    assert code == 1
    assert lines_of(found, "/left/failure_monitor")
    assert lines_of(found, "/left/policy/embedding"), found
    assert not any("/right" in line.partition(": ")[0] for line in found)


@pytest.mark.ros
def test_a_policy_is_checked_before_a_monitor_runs(robot, bundle_folder):
    code, found, _ = check(robot, bundle_folder)
    assert code == 1
    assert "ok" in lines_of(found, "/policy/embedding")[0]
    assert "no monitor is found in ROS domain " in lines_of(found, "monitor")[0]
    code, found, _ = check(robot, bundle_folder, "--embedding-topic", "/policy/action_chunks")
    assert "have shape (16, 5, 3), the bundle expects (6,)" in " ".join(found)


@pytest.mark.ros
def test_an_interrupt_ends_it_at_once_with_one_sentence():
    process = subprocess.Popen(
        [*COMMAND, "check", "--seconds", "60"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(4.0)
    # A terminal sends it to all processes of the command.
    os.killpg(process.pid, signal.SIGINT)
    _, complaints = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in complaints
    assert "Traceback" not in complaints


def test_without_ros_it_is_one_sentence(monkeypatch):
    monkeypatch.setattr("failure_monitor.cli.require_ros.find_spec", lambda name: None)
    done = run_here("check")
    assert done.exit_code == 1
    assert "ROS 2 is not found (there is no Python package 'rclpy'): source its" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["no_such_bundle"], 1, "lacks bundle.yaml"),
        (["--seconds", "1"], 2, "--seconds"),
        (["--namespace", "a b"], 2, "'a b' is no namespace"),
        (["--embedding-topic", "9 lives"], 2, "'9 lives' is no topic"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_listened_to(arguments, code, sentence):
    done = run_here("check", *arguments)
    assert done.exit_code == code, done.output
    assert sentence in done.output
    assert "listening" not in done.output


def test_the_listener_is_not_part_of_the_command_line(tmp_path: Path):
    """Nothing of ROS is imported by asking for help."""
    code = "import sys, failure_monitor.cli; sys.exit('rclpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
