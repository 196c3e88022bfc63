# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What runs beside the robot loads nothing heavy: import-linter reads the source, this looks."""

import json
import subprocess
import sys

import pytest

OFFLINE = {
    "matplotlib",
    "metaworld",
    "mujoco",
    "onnx",
    "onnxscript",
    "pandas",
    "rich",
    "torch",
    "typer",
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
            OFFLINE | {"rosbags", "onnxruntime", "pydantic", "scipy"},
            id="gate",
        ),
        pytest.param(
            "ros.recording.record_node",
            OFFLINE | {"onnxruntime", "pydantic", "scipy"},
            id="recorder",
        ),
        pytest.param(
            "ros.recording.incident_recorder_node",
            OFFLINE | {"onnxruntime", "pydantic", "scipy"},
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
