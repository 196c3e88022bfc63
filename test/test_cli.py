# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: files in, one clear sentence or a result out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bags import ACTIVE, BEGIN, PERIOD, SUCCESS, BagBuilder
from synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle import load
from failure_monitor.decision import Rollout


def write(path: Path, rollout: Rollout, *, success: bool = True) -> None:
    """A rollout as a bag."""
    with BagBuilder(path) as bag:
        bag.flag(ACTIVE, True, BEGIN - 1)
        for index, decision in enumerate(rollout.decisions()):
            bag.embedding(decision.embedding, BEGIN + index * PERIOD)
            bag.chunks(decision.chunks, BEGIN + index * PERIOD, names=POLICY.action_names)
        bag.flag(SUCCESS, success, BEGIN + len(rollout) * PERIOD)
        bag.flag(ACTIVE, False, BEGIN + len(rollout) * PERIOD + 1)


def failure_monitor(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "failure_monitor.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        timeout=120,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bags")


@pytest.fixture(scope="module")
def successes(folder):
    for seed in range(10):
        write(folder / "successes" / f"rollout_{seed}", synthetic_rollout(seed))
    return folder / "successes"


@pytest.fixture(scope="module")
def tests(folder):
    """Three successes, and three failures whose embeddings go astray half-way."""
    for seed in range(20, 23):
        write(folder / "tests" / f"success_{seed}", synthetic_rollout(seed))
        failed = synthetic_rollout(seed + 10)
        failed.embeddings[6:] += np.float32(4)
        write(folder / "tests" / f"failure_{seed}", failed, success=False)
    return folder / "tests"


@pytest.fixture(scope="module")
def calibrated(folder, successes):
    return failure_monitor(
        "calibrate",
        successes,
        "--output",
        folder / "bundle",
        *("--rule", "any", "--window", "2", "--folds", "5", "--jobs", "1"),
        *("--action-kind", "delta", "--position-names", "dx,dy"),
    )


def test_calibrate_writes_a_bundle_and_prints_its_promise(calibrated, folder):
    assert calibrated.returncode == 0, calibrated.stderr
    assert "with a chance of at most 0.1" in calibrated.stdout
    assert "10 rollouts, cross-fitted in 5 folds" in calibrated.stdout
    bundle = load(folder / "bundle")
    assert bundle.policy == POLICY
    assert (bundle.rule, bundle.alpha, bundle.description.window) == ("any", 0.1, 2)
    assert [score.name for score in bundle.scores] == ["rnd_oe", "ace"]


def test_progress_goes_to_standard_error_and_the_result_to_standard_output(calibrated):
    assert "fold 5 of 5" in calibrated.stderr
    assert "fold 5 of 5" not in calibrated.stdout


def test_evaluate_measures_the_bundle_on_rollouts_with_outcomes(calibrated, folder, tests):
    result = failure_monitor(
        "evaluate", folder / "bundle", tests, "--json", folder / "results.json"
    )
    assert result.returncode == 0, result.stderr
    assert "elapsed" in result.stdout
    results = json.loads((folder / "results.json").read_text())
    overall = results["metrics"]["overall"]
    assert (overall["tpr"], overall["n_failure"], overall["n_success"]) == (1.0, 3, 3)
    failed = [rollout for rollout in results["rollouts"] if not rollout["success"]]
    assert {rollout["alarm_decision"] for rollout in failed} == {6}
    control = results["elapsed_time_control"]["overall"]
    assert control["tpr"] < overall["tpr"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--alpha", "0.05"], 1, "record 19 successful rollouts, or ask for alpha 0.0909"),
        (["--rule", "most"], 2, "there is no rule 'most': choose fiper, all, any, mean"),
        (["--scores", "rnd_oe", "--rule", "fiper"], 2, "the rule 'fiper' is all of rnd_oe, ace"),
        (["--scores", "wisdom", "--rule", "any"], 2, "there is no score 'wisdom'"),
        (["--action-kind", "torque"], 2, "there is no action kind 'torque'"),
        (["--position-names", "dz"], 1, "['dz'] are not among the policy's actions"),
        (["--folds", "11"], 1, "10 rollouts cannot be dealt into 11 folds"),
        (["--embedding-topic", "/nothing"], 1, "/policy/action_chunks"),
        (["--window", "0"], 2, "window"),
    ],
)
def test_calibrate_refuses_in_one_sentence_and_writes_nothing(
    successes, tmp_path, arguments, code, sentence
):
    result = failure_monitor("calibrate", successes, "--output", tmp_path / "bundle", *arguments)
    assert result.returncode == code
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failure_among_the_successes_is_refused_by_name(successes, tests, tmp_path):
    result = failure_monitor(
        "calibrate", successes, tests / "failure_20", "--output", tmp_path / "bundle"
    )
    assert result.returncode == 1
    assert "1 of the rollouts failed (" in result.stderr
    assert "failure_20" in result.stderr


def test_a_deterministic_policy_is_refused(tmp_path):
    for seed in range(10):
        rollout = synthetic_rollout(seed)
        rollout.chunks[:] = rollout.chunks[:, :1]
        write(tmp_path / "bags" / f"rollout_{seed}", rollout)
    result = failure_monitor("calibrate", tmp_path / "bags", "--output", tmp_path / "bundle")
    assert result.returncode == 1
    assert "the policy is deterministic" in result.stderr
    assert not (tmp_path / "bundle").exists()


def test_rollouts_of_another_policy_cannot_be_evaluated(calibrated, folder, tmp_path):
    other = synthetic_rollout(0)
    longer = Rollout("other", other.stamps, np.tile(other.embeddings, 2), other.chunks)
    write(tmp_path / "other", longer)
    result = failure_monitor("evaluate", folder / "bundle", tmp_path / "other")
    assert result.returncode == 1
    assert "embedding" in result.stderr
    assert "12" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_damaged_bundle_is_refused_by_the_name_of_its_file(calibrated, folder, tests, tmp_path):
    damaged = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    (damaged / "rnd_oe.network.onnx").write_bytes(b"")
    result = failure_monitor("evaluate", damaged, tests)
    assert result.returncode == 1
    assert "rnd_oe.network.onnx is not the file that was calibrated" in result.stderr


def test_help_does_not_wait_for_torch():
    script = "import sys, failure_monitor.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
