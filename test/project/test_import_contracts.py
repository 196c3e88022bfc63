# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What runs beside the robot loads nothing heavy: import-linter reads the source, this looks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import rclpy
from testbed.gate_robot import GateRobot
from testbed.ros_graph import Observer, node_process

OFFLINE = {
    "matplotlib",
    "metaworld",
    "mujoco",
    "onnx",
    "onnxscript",
    "pandas",
    "rich",
    "torch",
}

LOADED = "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"


def packages_loaded_by(module: str) -> set[str]:
    """The top-level modules of a fresh interpreter that has imported the module."""
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys, {module}; {LOADED}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        pytest.param(
            "ros.monitor.node",
            OFFLINE | {"cv2", "onnxruntime", "rosbags", "scipy"},
            id="monitor",
        ),
        pytest.param("ros.tap", OFFLINE | {"rosbags", "onnxruntime", "scipy"}, id="tap"),
        pytest.param(
            "ros.gate.node",
            OFFLINE | {"rosbags", "onnxruntime", "scipy"},
            id="gate",
        ),
        pytest.param(
            "ros.recording.record_node",
            OFFLINE | {"onnxruntime", "scipy"},
            id="recorder",
        ),
        pytest.param(
            "ros.recording.incident_recorder_node",
            OFFLINE | {"onnxruntime", "scipy"},
            id="incidents",
        ),
    ],
)
def test_node_loads_nothing_it_does_not_need(module, forbidden):
    loaded = packages_loaded_by(f"failure_monitor.{module}")
    assert "rclpy" in loaded
    assert not loaded & forbidden


def test_scores_and_monitor_load_neither_torch_nor_ros():
    loaded = packages_loaded_by(
        "failure_monitor.scores.registry, failure_monitor.monitoring.monitor"
    )
    assert not loaded & (OFFLINE | {"rclpy"})


def test_command_line_loads_neither_torch_nor_ros_to_print_its_help():
    loaded = packages_loaded_by("failure_monitor.cli")
    assert not loaded & {"matplotlib", "rclpy", "rosbags", "torch"}


# While they run


MESSAGE_PACKAGES = {"geometry_msgs", "sensor_msgs", "service_msgs", "unique_identifier_msgs"}
"""ROS's own message packages that import numpy, for a message or two with arrays of fixed size."""


@pytest.fixture(scope="module")
def context():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@contextmanager
def watched_node(module: str, monkeypatch, found: dict, **parameters: object) -> Iterator[None]:
    """A running node; when it has ended, `found` holds what it has loaded."""
    monkeypatch.setenv("WATCHED_NODE", f"failure_monitor.{module}")
    with node_process("testbed.node_with_watched_imports", **parameters) as process:
        yield
        code, output = process.end()
    assert code == 0, output
    found.update(json.loads(output.splitlines()[-1]))


@pytest.mark.ros
@pytest.mark.usefixtures("context")
def test_a_gate_that_has_passed_commands_and_stopped_the_robot_has_loaded_nothing_heavy_itself(
    monkeypatch,
):
    robot, found = GateRobot(), {}
    parameters = {"permit_lease": 0.3, "command.safe_command": "decelerate"}
    with watched_node(
        "ros.gate.node", monkeypatch, found, **parameters, **{"command.max_deceleration": [1.0]}
    ):
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(0.1)
        robot.wait_for(robot.passed, "the command")
        robot.close_gate()
        robot.wait_for(lambda: len(robot.passed()) > 2, "safe commands")
    robot.node.destroy_node()
    forbidden = OFFLINE | {"cv2", "onnxruntime", "rosbags", "scipy"}
    assert not set(found["loaded"]) & forbidden
    assert set(found["numpy"]) <= MESSAGE_PACKAGES
    assert set(found["yaml"]) <= {"rclpy", "failure_monitor"}


@pytest.mark.ros
@pytest.mark.usefixtures("context")
def test_a_monitor_that_has_scored_a_decision_has_loaded_nothing_for_offline_use(
    monkeypatch, bundle_folder, policy, rollouts
):
    observer, found = Observer(policy.action_names), {}
    observer.listen_to_monitor()
    with watched_node(
        "ros.monitor.node",
        monkeypatch,
        found,
        bundle=bundle_folder,
        rollout_boundaries="none",
        max_joint_state_age=0.0,
        max_decision_age=20.0,
    ):
        observer.wait_for(lambda: observer.state() == "STALE", "the monitor")
        observer.decide(next(rollouts[0].decisions()))
        observer.wait_for(observer.permitted, "the permit")
    observer.node.destroy_node()
    assert not set(found["loaded"]) & (OFFLINE | {"rosbags"})


@pytest.mark.ros
@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("module", ["record_node", "incident_recorder_node"])
def test_a_running_recorder_has_loaded_nothing_that_is_heavy(module, monkeypatch, tmp_path):
    observer, found = Observer([]), {}
    with watched_node(f"ros.recording.{module}", monkeypatch, found, output=tmp_path):
        name = module.removesuffix("_node")
        observer.wait_for(lambda: name in observer.node.get_node_names(), "the recorder")
        observer.spin(0.5)
    observer.node.destroy_node()
    assert not set(found["loaded"]) & (OFFLINE | {"onnxruntime", "scipy"})
