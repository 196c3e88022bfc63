# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`evaluate` shows the dial, and it or `calibrate` names the alpha that a wish needs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from testbed.command_line import run_here
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.decision import Rollout
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet

SCORES = ("--scores", "phase_knn,chunk_lag", "--alpha", "0.1", "--jobs", "1")


def disturbed(seed: int, by: float, **changes: object) -> Rollout:
    rollout = synthetic_rollout(seed)
    shifted = (rollout.embeddings + by).astype(np.float32)
    return replace(rollout, embeddings=shifted, group="light", calibration=False, **changes)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("dial") / "rollouts.npz"
    rollouts = [
        *(replace(synthetic_rollout(seed), calibration=True) for seed in range(19)),
        *(replace(synthetic_rollout(seed), calibration=False) for seed in range(20, 26)),
        *(disturbed(30 + index, 0.01 * index) for index in range(19)),
        *(disturbed(60 + index, 1.0, success=False) for index in range(5)),
    ]
    write_archive(path, RolloutSet(POLICY, tuple(rollouts)))
    return path


@pytest.fixture(scope="module")
def bundle(archive):
    result = run_here("calibrate", archive, "--output", archive.parent / "bundle", *SCORES)
    assert result.exit_code == 0, result.output
    return archive.parent / "bundle"


def test_the_dial_agrees_with_the_figures_at_the_chosen_alpha(archive, bundle, tmp_path):
    result = run_here("evaluate", bundle, archive, "--json", tmp_path / "e.json", "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert "0.1 ◀ chosen" in result.stdout
    content = json.loads((tmp_path / "e.json").read_text())
    dial, overall = content["dial"], content["metrics"]["overall"]
    assert dial["chosen_alpha"] == 0.1
    (chosen,) = (point for point in dial["points"] if point["alpha"] == 0.1)
    assert chosen["failures_found_early"]["share"] == overall["early_tpr"]
    assert chosen["alarms_in_undisturbed_successes"]["share"] == overall["false_alarm_rate"]
    assert chosen["lead_time_s"] == overall["lead_time_s"]
    assert dial["points"][0]["alpha"] == 0.05
    assert "wish" not in content


def test_another_alpha_does_what_the_dial_said(archive, bundle, tmp_path):
    run_here("evaluate", bundle, archive, "--json", tmp_path / "a.json", "--jobs", "1")
    other = tmp_path / "bundle"
    result = run_here("calibrate", archive, "--output", other, *SCORES, "--alpha", "0.25")
    assert result.exit_code == 0, result.output
    run_here("evaluate", other, archive, "--json", tmp_path / "b.json", "--jobs", "1")
    said, done = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert said["dial"]["points"] == done["dial"]["points"]
    (point,) = (each for each in said["dial"]["points"] if each["alpha"] == 0.25)
    assert point["failures_found_early"]["share"] == done["metrics"]["overall"]["early_tpr"]


def test_a_wish_names_its_alpha(archive, bundle, tmp_path):
    wish = ("--max-disturbed-alarms", "0.5")
    result = run_here(
        *("evaluate", bundle, archive, "--json", tmp_path / "e.json", "--jobs", "1"), *wish
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "e.json").read_text())
    alpha = content["wish"]["alpha"]
    assert f"needs alpha {alpha:g}" in result.stdout
    granted = [
        point["alpha"]
        for point in content["dial"]["points"]
        if (point["alarms_in_disturbed_successes"]["events"] + 1) / 20 <= 0.5
    ]
    assert alpha == max(granted)
    again = run_here("calibrate", archive, "--output", tmp_path / "bundle", *SCORES, *wish)
    assert again.exit_code == 0, again.output
    assert content["wish"]["text"] in again.stdout


def test_calibrate_has_no_wish_without_rollouts_that_show_it(archive, tmp_path):
    path = tmp_path / "calibration.npz"
    rollouts = tuple(replace(synthetic_rollout(seed), calibration=True) for seed in range(10))
    write_archive(path, RolloutSet(POLICY, rollouts))
    result = run_here(
        *("calibrate", path, "--output", tmp_path / "bundle", *SCORES),
        *("--max-disturbed-alarms", "0.1"),
    )
    assert result.exit_code == 2
    assert "needs rollouts of known outcome that do not calibrate" in " ".join(
        result.stderr.split()
    )
