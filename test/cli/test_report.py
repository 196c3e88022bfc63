# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`--report` as a user meets it: bags in, a page out."""

import signal
import subprocess
import sys
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest
from testbed.bags import ACTIVE, BEGIN, PERIOD, STORE, SUCCESS, BagBuilder, header
from testbed.command_line import run_command
from testbed.report_pages import failed_rollout
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.folder import content_hash
from failure_monitor.decision import Rollout

CAMERA, TASK = "/wrist/image_raw/compressed", "/rollout/task"

pytestmark = pytest.mark.slow


def write(path: Path, rollout: Rollout, *, task: str) -> None:
    """A rollout as a bag, with a camera frame for each decision."""
    _, jpeg = cv2.imencode(".jpg", np.full((24, 32, 3), 90, np.uint8))
    with BagBuilder(path) as bag:
        bag.flag(ACTIVE, True, BEGIN - 1)
        bag.text(TASK, task, BEGIN)
        for index, decision in enumerate(rollout.decisions()):
            stamp = BEGIN + index * PERIOD
            bag.embedding(decision.embedding, stamp)
            bag.chunks(decision.chunks, stamp, names=POLICY.action_names)
            frame = STORE.types["sensor_msgs/msg/CompressedImage"](
                header=header(stamp), format="jpeg", data=jpeg.reshape(-1)
            )
            bag.write(CAMERA, frame, stamp)
        bag.flag(SUCCESS, bool(rollout.success), BEGIN + len(rollout) * PERIOD)
        bag.flag(ACTIVE, False, BEGIN + len(rollout) * PERIOD + 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bags to calibrate on, and to evaluate on, of two tasks."""
    folder = tmp_path_factory.mktemp("reported")
    for seed in range(20):
        task = ("press", "pull")[seed % 2]
        write(folder / "successes" / f"rollout_{seed}", synthetic_rollout(seed), task=task)
    for seed in range(30, 34):
        task = ("press", "pull")[seed % 2]
        write(folder / "tests" / f"success_{seed}", synthetic_rollout(seed), task=task)
        write(folder / "tests" / f"failure_{seed}", failed_rollout(seed + 30), task=task)
    return folder


@pytest.fixture(scope="module")
def calibrated(folder):
    return run_command(
        *("calibrate", folder / "successes", "--output", folder / "bundle", "--jobs", "1"),
        *("--scores", "rnd_oe,ace", "--rule", "any", "--folds", "3"),
        *("--action-kind", "delta", "--position-names", "dx,dy"),
        *("--report", folder / "calibration"),
    )


def test_calibrate_writes_a_report_that_names_bundle_sources_and_command(calibrated, folder):
    assert calibrated.returncode == 0, calibrated.stderr
    page = folder / "calibration" / "index.html"
    assert f"wrote {page}" in calibrated.stdout
    text = unescape(page.read_text())
    assert "bundle, calibrated on 20 rollouts" in text
    assert content_hash(folder / "bundle") in text
    assert f"failure-monitor calibrate {folder}/successes" in text
    assert text.count("rollout_19") >= 2
    assert "press" in text


def test_evaluate_writes_a_report_with_frames_of_the_camera(calibrated, folder):
    result = run_command(
        *("evaluate", folder / "bundle", folder / "tests", "--jobs", "1"),
        *("--group-by", "task", "--report", folder / "evaluation", "--report-camera", CAMERA),
    )
    assert result.returncode == 0, result.stderr
    text = unescape((folder / "evaluation" / "index.html").read_text())
    assert "bundle, evaluated on 8 rollouts" in text
    assert "data:image/jpeg;base64," in text
    assert f"Frames from {CAMERA}, by decision and time." in text
    assert 'class="alarm"' in text
    assert "Elapsed time (control), early, by task" in text
    for word in ("press", "pull"):
        assert f'<th scope="row">{word}</th>' in text


def test_an_interrupt_while_the_report_is_made_costs_the_report_alone(folder):
    command = [
        *(sys.executable, "-m", "failure_monitor.cli", "calibrate", folder / "successes"),
        *("--output", folder / "bundle_alone", "--report", folder / "never", "--jobs", "1"),
        *("--scores", "ace", "--rule", "any", "--folds", "3"),
    ]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said = ""
        while "audit:" not in said:
            said = process.stderr.readline()
            assert said, "it ended before the audit"
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert process.returncode == 130
    assert errors.endswith("interrupted; the report was not written\n")
    assert content_hash(folder / "bundle_alone")
    assert [path.name for path in folder.iterdir() if "never" in path.name] == []


def test_a_folder_with_another_page_is_refused_before_anything_is_read(calibrated, folder):
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("<h1>mine</h1>")
    result = run_command(
        "evaluate", folder / "bundle", folder / "nowhere", "--report", folder / "site"
    )
    assert result.returncode == 1
    assert "is there and no report of failure-monitor: name another place" in result.stderr
    assert (folder / "site" / "index.html").read_text() == "<h1>mine</h1>"


def test_an_unknown_key_to_group_by_is_refused_with_those_there_are(calibrated, folder):
    result = run_command("evaluate", folder / "bundle", folder / "tests", "--group-by", "weather")
    assert result.returncode == 2
    assert "there is no group by 'weather': choose group, task" in result.stderr
