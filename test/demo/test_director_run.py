# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The demo as its user starts it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from failure_monitor.demo.calibration_process import calibrate_arguments, calibration
from failure_monitor.errors import FailureMonitorError

DEMO = (sys.executable, "-m", "failure_monitor.demo")
STARTED = 30.0
"""Seconds within which the nodes must have been started, even on a busy machine."""


def start_demo(*arguments: str, output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEMO, "--output", str(output), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children_of(demo: subprocess.Popen[str], at_least: int) -> list[psutil.Process]:
    """All its descendants, once there are so many."""
    deadline = time.monotonic() + STARTED
    while True:
        found = psutil.Process(demo.pid).children(recursive=True)
        if len(found) >= at_least:
            return found
        assert time.monotonic() < deadline, demo.communicate()
        time.sleep(0.1)


@pytest.mark.ros
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_an_interrupted_demo(number: signal.Signals, tmp_path: Path) -> None:
    demo = start_demo(output=tmp_path)
    # Four nodes and the calibration, which starts processes of its own.
    children = children_of(demo, at_least=5)
    demo.send_signal(number)
    _, told = demo.communicate(timeout=30)
    assert demo.returncode == 130, told
    assert told.strip().endswith("interrupted; the nodes are ended")
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []


def test_an_unknown_task_is_refused_in_a_sentence(tmp_path: Path) -> None:
    demo = start_demo("--task", "juggling", output=tmp_path)
    _, told = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "there is no demo task 'juggling'" in told
    assert "Traceback" not in told


def test_a_calibration_that_fails_says_why(tmp_path: Path) -> None:
    arguments = calibrate_arguments(
        tmp_path / "no_bags",
        tmp_path / "bundle",
        executed_actions=2,
        rule="any",
        window=3,
        alpha=0.1,
        scores="rnd_oe,ace",
    )
    with (
        calibration(arguments, tmp_path / "log") as process,
        pytest.raises(FailureMonitorError, match=r"the calibration failed: .*no_bags"),
    ):
        process.wait()


@pytest.mark.parametrize(("scores", "given"), [("", False), ("rnd_oe,ace", True)])
def test_scores_are_left_to_the_calibration_unless_they_are_named(tmp_path, scores, given) -> None:
    settings = {"executed_actions": 2, "rule": "any", "window": 3, "alpha": 0.1}
    arguments = calibrate_arguments(tmp_path, tmp_path / "bundle", scores=scores, **settings)
    assert ("--scores" in arguments) is given
    assert "" not in arguments
