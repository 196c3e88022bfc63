# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`promise` says whether a bundle's promise holds in recordings, and draws it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from testbed.command_line import run_here, write_rollout_bag
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle import folder as bundle_files
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings

DRIFTED = range(100, 112)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "bundle"
    settings = CalibrationSettings(scores=("ace", "knn"), rule="mean", folds=5, jobs=1)
    bundle_files.save(
        calibrate([synthetic_rollout(seed) for seed in range(20)], POLICY, settings), path
    )
    return path


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    for seed in DRIFTED:
        rollout = synthetic_rollout(seed)
        moved = replace(rollout, embeddings=rollout.embeddings + np.float32(0.5))
        write_rollout_bag(folder / f"rollout_{seed}", moved)
    write_rollout_bag(folder / "unknown", synthetic_rollout(200), success=None)
    return folder


def test_it_says_since_when_by_which_score_and_what_was_left_out(made, bags, tmp_path):
    figure, results = tmp_path / "promise.svg", tmp_path / "promise.json"
    result = run_here("promise", made, bags, "--figure", figure, "--json", results)
    assert result.exit_code == 0, result.output
    text = re.sub(r"\s+", " ", re.sub(r"[─-╿]", " ", result.stdout))
    assert re.search(r"broken since rollout \d+", text)
    assert "1 rollout: has no outcome" in text
    assert "at 100 successful rollouts a day at most 70 false stops a week" in text
    drawn = figure.read_text()
    assert "<svg" in drawn
    assert "0.01" in drawn
    assert "mathdefault" not in drawn
    found = json.loads(results.read_text())
    assert found["word"] == "broken"
    assert found["rollouts"] == len(found["course"]) == len(DRIFTED)


def test_a_picture_is_drawn_as_png_too(made, bags, tmp_path):
    result = run_here("promise", made, bags, "--figure", tmp_path / "p.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--figure", "p.pdf"), "ends neither with .svg nor with .png"),
        (("--delta", "0"), "--delta"),
        (("--delta", "1"), "--delta"),
        (("--rollouts-per-day", "-3"), "--rollouts-per-day"),
    ],
)
def test_what_has_no_meaning_is_rejected(made, bags, options, sentence):
    result = run_here("promise", made, bags, *options)
    assert result.exit_code == 2
    assert sentence in result.output


def test_inspect_says_what_a_promise_means_in_a_week(made):
    result = run_here("inspect", made, "--rollouts-per-day", 10, "--stops-per-week", 1)
    text = re.sub(r"\s+", " ", re.sub(r"[─-╿]", " ", result.stdout))
    assert "at 10 successful rollouts a day at most 7 false stops a week" in text
    assert "alpha 0.0143 or less, from 69 or more calibration rollouts" in text
