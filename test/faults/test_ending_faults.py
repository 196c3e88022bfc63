# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Signals at any moment, one or many, and a terminal that is closed, end every node in order."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from geometry_msgs.msg import Twist, Vector3
from testbed.faults.executable import (
    NAMES,
    Executable,
    executables,
    send_to_all,
    wait_until_all_handle_signals,
)
from testbed.gate_robot import GateRobot
from testbed.ros_graph import observing

pytestmark = [pytest.mark.ros, pytest.mark.law(5)]

INT, TERM, HUP, QUIT = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT

SPEED = 1.0

STOPPING = {
    "command.type": "geometry_msgs/msg/Twist",
    "command.safe_command": "decelerate",
    "command.max_deceleration": "[1.0, 1.0]",
    "safe_command_duration": 0.2,
}
"""A gate that takes a second to stop a robot from 1 m/s."""


@pytest.fixture
def started(bundle_folder: Path, tmp_path: Path) -> Iterator[dict[str, Executable]]:
    """Start all nodes."""
    pytest.importorskip("metaworld")
    folder = {"output": tmp_path / "bags"}
    parameters = {
        "monitor_node": {"bundle": bundle_folder, "rollout_boundaries": "none"},
        "record_node": folder,
        "incident_recorder_node": folder,
        "judge_node": {"url": "http://127.0.0.1:9/v1", "model": "m", "question": "done"},
        "metrics_node": {"metrics_file": tmp_path / "failure_monitor.prom"},
    }
    nodes = {name: Executable(name, parameters.get(name)) for name in NAMES}
    with executables(*nodes.values()):
        yield nodes


@pytest.fixture
def robot() -> Iterator[GateRobot]:
    with observing(GateRobot, {"command_in": Twist}) as robot:
        yield robot


def assert_all_ended_in_order(started: dict[str, Executable]) -> None:
    ends = {name: one.ending() for name, one in started.items()}
    assert {name: code for name, (code, _) in ends.items()} == dict.fromkeys(started, 0)
    assert [output for _, output in ends.values() if "Traceback" in output] == []


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.2])
def test_signals_while_a_node_imports_and_starts(started, delay):
    wait_until_all_handle_signals(started)
    time.sleep(delay)
    send_to_all(started, [INT, INT, TERM], gap=0.05)
    assert_all_ended_in_order(started)


@pytest.mark.parametrize(
    ("numbers", "gap"),
    [([INT, INT], 0.15), ([TERM, INT, HUP], 0.02), ([HUP, HUP], 0.0), ([QUIT], 0.0)],
)
def test_signals_to_nodes_that_run(started, robot, numbers, gap):
    wanted = set(NAMES.values())
    robot.wait_for(lambda: wanted <= set(robot.node.get_node_names()), "all nodes")
    robot.spin(0.5)
    send_to_all(started, numbers, gap)
    assert_all_ended_in_order(started)


def speeds(robot: GateRobot) -> list[float]:
    """Return the speeds since the robot was set in motion."""
    passed = [twist.linear.x for twist in robot.passed()]
    return passed[passed.index(SPEED) :] if SPEED in passed else []


def set_in_motion(robot: GateRobot) -> None:
    robot.wait_until_connected()
    robot.open_gate()
    robot.send_message(Twist(linear=Vector3(x=SPEED)))
    robot.wait_for(lambda: speeds(robot), "the command")


def assert_told_to_stand(robot: GateRobot) -> None:
    ramp = speeds(robot)
    assert ramp[-1] == 0.0
    assert ramp == sorted(ramp, reverse=True)


@pytest.mark.parametrize(
    ("numbers", "gap"), [([INT] * 8, 0.1), ([TERM, HUP, TERM], 0.4), ([HUP, QUIT] * 200, 0.0)]
)
def test_signals_in_the_middle_of_a_ramp(robot, numbers, gap):
    gate = Executable("gate_node", STOPPING)
    with executables(gate):
        set_in_motion(robot)
        for number in numbers:
            gate.send(number)
            robot.spin(gap)
        robot.wait_for(lambda: not gate.is_running, "the gate to end")
        robot.spin(0.1)
        assert_told_to_stand(robot)
        code, output = gate.ending()
    assert code == 0, output


def test_a_terminal_that_is_closed(robot):
    """It takes the log with it, and sends SIGHUP."""
    arguments = [part for key, value in STOPPING.items() for part in ("-p", f"{key}:={value}")]
    start = "from failure_monitor.executables import gate_node; gate_node()"
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", start, "--ros-args", *arguments])
    try:
        set_in_motion(robot)
        os.close(terminal)
        robot.spin(0.1)
        robot.wait_for(lambda: os.waitpid(child, os.WNOHANG)[0] or None, "the gate to end")
        robot.spin(0.1)
        assert_told_to_stand(robot)
    finally:
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)


def test_a_terminal_does_not_freeze_the_gate(robot):
    gate = Executable("gate_node", STOPPING)
    with executables(gate):
        set_in_motion(robot)
        for number in (signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN):
            gate.send(number)
        robot.send_message(Twist(linear=Vector3(x=SPEED)))
        robot.wait_for(lambda: len(speeds(robot)) > 1, "another command")
        gate.send(signal.SIGTERM)
        robot.wait_for(lambda: not gate.is_running, "the gate to end")
        assert gate.ending()[0] == 0


def test_a_ramp_for_which_no_time_is_granted_is_cut_short_by_the_command_to_stand(robot):
    """Whoever kills the gate would otherwise leave the robot in motion."""
    granted = 4.0
    slow = {**STOPPING, "command.max_deceleration": "[0.05, 1.0]", "stop_timeout": granted}
    gate = Executable("gate_node", slow)
    with executables(gate):
        set_in_motion(robot)
        begin = time.monotonic()
        gate.send(TERM)
        robot.wait_for(lambda: not gate.is_running, "the gate to end")
        assert 1.0 < time.monotonic() - begin < granted
        robot.spin(0.1)
        assert_told_to_stand(robot)
        assert min(filter(None, speeds(robot))) > 0.5 * SPEED
        assert gate.ending()[0] == 0
