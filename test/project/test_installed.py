# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is installed runs: every module, every command and every node.

`make test-distributions` runs this with the versions of packages that distributions ship. What
needs a package that is in no distribution, such as torch, is left out where it is missing.
"""

from __future__ import annotations

import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import onnxruntime
import pytest
import rclpy
from rclpy.node import Node
from testbed.repository import ROOT
from testbed.synthetic import POLICY, synthetic_rollout

import failure_monitor
from failure_monitor.errors import FailureMonitorError
from failure_monitor.missing_package import EXTRAS
from failure_monitor.parameters.nodes import NODES
from failure_monitor.policy_models.models import ObservationEncoder
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet

BIN = Path(sys.executable).parent
OPTIONAL = {*EXTRAS, "ros2cli"}
NAMES = {
    "failure_monitor_record_node": "record",
    "failure_monitor_incident_recorder_node": "incident_recorder",
}
"""Nodes that are not called as their executables are."""

START = 60.0
"""Seconds that a node may take to start on a busy machine."""


def modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(failure_monitor.__path__, "failure_monitor."):
        if not module.name.endswith("__main__"):
            yield module.name


def run(*arguments: object) -> str:
    done = subprocess.run(
        [BIN / "failure-monitor", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return rollouts to calibrate on, and others to evaluate."""
    folder = tmp_path_factory.mktemp("archives")
    paths = [folder / "calibration.npz", folder / "tests.npz"]
    for path, first in zip(paths, (0, 12), strict=True):
        rollouts = [synthetic_rollout(seed) for seed in range(first, first + 12)]
        rollouts += [synthetic_rollout(99, success=False)] if first else []
        write_archive(path, RolloutSet(POLICY, tuple(rollouts)))
    return paths


@pytest.fixture(scope="module")
def calibrated(archives: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of the default rule."""
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    run("calibrate", archives[0], "--output", folder, "--executed-actions", "1", "--jobs", "1")
    return folder


@pytest.mark.slow
def test_every_module_is_imported_but_for_what_an_extra_brings() -> None:
    missing = {}
    for name in modules():
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            missing[name] = (error.name or "").partition(".")[0]
    assert {name: module for name, module in missing.items() if module not in OPTIONAL} == {}


@pytest.mark.slow
def test_every_command_runs(archives: list[Path], calibrated: Path, tmp_path: Path) -> None:
    bag = ROOT / "failure_monitor/demo/bags/drawer-open-v3/rollout_0000"
    assert run("--version").strip() == failure_monitor.__version__
    assert "phase_knn" in run("inspect", calibrated)
    assert "detection" in run("evaluate", calibrated, archives[1], "--json", tmp_path / "e.json")
    assert "keep" in run("audit", archives[0])
    assert "/policy/embedding" in run("inspect", bag, "--jobs", "1")
    run("archive", bag, "--output", tmp_path / "bag.npz", "--jobs", "1")
    assert "rollout" in run("inspect", tmp_path / "bag.npz")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_a_report_is_drawn(archives: list[Path], calibrated: Path, tmp_path: Path) -> None:
    run("evaluate", calibrated, archives[1], "--report", tmp_path / "report", "--jobs", "1")
    assert (tmp_path / "report" / "index.html").is_file()


@pytest.mark.slow
def test_an_exported_model_is_run_or_its_remedy_named() -> None:
    """The onnxruntime that an old numpy admits knows no newer models."""
    model = read_onnx_file(ROOT / "failure_monitor/demo/models/drawer-open-v3/encoder.onnx")
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 17):
        with pytest.raises(FailureMonitorError, match="install another version of onnxruntime"):
            ObservationEncoder(model)
    else:
        assert ObservationEncoder(model).cameras


@pytest.fixture(scope="module")
def observer() -> Iterator[Node]:
    rclpy.init()
    node = rclpy.create_node("observer")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.ros
@pytest.mark.parametrize("executable", [node.executable for node in NODES])
def test_a_node_starts_and_ends(
    executable: str, observer: Node, calibrated: Path, tmp_path: Path
) -> None:
    node = NAMES.get(executable, executable.removesuffix("_node"))
    parameters = {
        "failure_monitor_node": {"bundle": calibrated},
        "failure_monitor_record_node": {"output": tmp_path},
        "failure_monitor_incident_recorder_node": {"output": tmp_path},
        "failure_monitor_judge_node": {
            "url": "http://127.0.0.1:9/v1",
            "model": "m",
            "question": "q",
        },
        "failure_monitor_metrics_node": {"metrics_file": tmp_path / "failure_monitor.prom"},
    }.get(executable, {})
    given = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [BIN / executable, "--ros-args", *given], stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        end = time.monotonic() + START
        while node not in observer.get_node_names():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        # What a node does by itself, such as configuring and activating, is done soon after.
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert "Traceback" not in text
    assert "ERROR" not in text
