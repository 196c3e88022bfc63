# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`calibrate --outcome-alpha`, and what inspect, recalibrate and evaluate make of the check."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from testbed.command_line import run_here
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.folder import load
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet


def archive(path: Path, seeds: range, **changed: object) -> Path:
    rollouts = [
        replace(synthetic_rollout(seed, decisions=10 + seed % 5), **changed) for seed in seeds
    ]
    write_archive(path, RolloutSet(POLICY, tuple(rollouts)))
    return path


@pytest.fixture
def successes(tmp_path: Path) -> Path:
    return archive(tmp_path / "successes.npz", range(12))


def calibrate(successes: Path, output: Path, *options: object):
    return run_here(
        *("calibrate", successes, "--output", output, "--scores", "knn,ace", "--jobs", 1), *options
    )


def plain_text(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[─-╿]", " ", text))


def test_inspect_shows_the_check_with_its_own_alpha(successes, tmp_path):
    made = calibrate(successes, tmp_path / "bundle", "--outcome-alpha", 0.2)
    assert made.exit_code == 0, made.output
    shown = plain_text(run_here("inspect", tmp_path / "bundle").stdout)
    assert "a true success is doubted with a chance of at most 0.2" in shown
    assert "how many false successes are found is not promised" in shown
    assert "without positions: no score of the rule needs them" in shown


def test_an_alpha_that_takes_more_rollouts_is_rejected_and_nothing_is_written(successes, tmp_path):
    made = calibrate(successes, tmp_path / "bundle", "--outcome-alpha", 0.01)
    assert made.exit_code != 0
    assert "the outcome check: 12 calibration rollouts cannot promise" in plain_text(made.output)
    assert not (tmp_path / "bundle").exists()


def test_recalibrate_keeps_the_check_and_its_absence(successes, tmp_path):
    more = archive(tmp_path / "more.npz", range(20, 24))
    for alpha in (0.2, 0):
        made = calibrate(successes, tmp_path / "bundle", "--outcome-alpha", alpha)
        assert made.exit_code == 0, made.output
        again = run_here(
            *("recalibrate", tmp_path / "bundle", successes, more, "--output", tmp_path / "new")
        )
        assert again.exit_code == 0, again.output
        check = load(tmp_path / "new").outcome_check
        assert (check.alpha if check else 0) == alpha


def test_evaluate_writes_what_the_check_finds(successes, tmp_path):
    assert calibrate(successes, tmp_path / "bundle").exit_code == 0
    tests = archive(tmp_path / "tests.npz", range(100, 110))
    path = tmp_path / "found.json"
    done = run_here("evaluate", tmp_path / "bundle", tests, "--json", path)
    assert done.exit_code == 0, done.output
    assert "The outcome check of rollouts that claim success" in plain_text(done.stdout)
    assert json.loads(path.read_text())["outcome_check"]["true_successes"]["rollouts"] == 10


def test_recalibrate_shows_that_too_few_rollouts_are_left_to_check_ends(successes, tmp_path):
    assert calibrate(successes, tmp_path / "bundle", "--alpha", 0.25).exit_code == 0
    few = archive(tmp_path / "few.npz", range(30, 34))
    again = run_here(
        *("recalibrate", tmp_path / "bundle", few, "--replace", "--accept-missed"),
        *("--alpha", 0.25, "--output", tmp_path / "new"),
    )
    assert again.exit_code == 0, again.output
    shown = plain_text(again.stdout)
    assert "outcome check judges no end now" in shown
    assert (
        "4 calibration rollouts cannot promise a share of doubted true successes of 0.1" in shown
    )


def test_calibrate_names_rollouts_that_only_claim_success(tmp_path):
    unknown = archive(tmp_path / "unknown.npz", range(12), success=None)
    claims = "".join(f"rollout {seed},success\n" for seed in range(12))
    (tmp_path / "claims.csv").write_text(f"rollout,claim\n{claims}")
    made = calibrate(unknown, tmp_path / "bundle", "--labels", tmp_path / "claims.csv")
    assert made.exit_code == 0, made.output
    assert "12 of 12 rollouts are successes as claimed" in plain_text(made.output)
    known = archive(tmp_path / "known.npz", range(12), success=True)
    made = calibrate(known, tmp_path / "second", "--labels", tmp_path / "claims.csv")
    assert made.exit_code == 0, made.output
    assert "as claimed" not in plain_text(made.output)
