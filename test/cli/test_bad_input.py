# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bad rollouts, as a user meets them: one clear sentence that names file, rollout and decision."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_parts.synthetic_task import SyntheticTask
from testbed.command_line import run_here

from failure_monitor.bundle.folder import load

TASK = SyntheticTask.of_size(embedding=6, samples=5, horizon=6, actions=2, decisions=8)
CALIBRATION, TESTS = 12, 4
ROLLOUTS = TASK.rollouts(range(CALIBRATION + TESTS))
LENGTHS = np.array([len(rollout) for rollout in ROLLOUTS])
STARTS = np.cumsum(LENGTHS) - LENGTHS
NAN, INFINITE = float("nan"), float("inf")

Arrays = dict[str, Any]


def good_arrays() -> Arrays:
    """An archive of successes to calibrate on, and of two of either outcome to test on."""
    meta = {"action_names": ["dx", "dy"], "action_kind": "delta", "exec_horizon": 3}
    return {
        "action_chunks": np.concatenate([rollout.chunks for rollout in ROLLOUTS]),
        "obs_embedding": np.concatenate([rollout.embeddings for rollout in ROLLOUTS]),
        "ee_pos": np.concatenate([rollout.positions for rollout in ROLLOUTS]),
        "stamp": np.concatenate([rollout.stamps for rollout in ROLLOUTS]),
        "episode_start": STARTS,
        "episode_length": LENGTHS,
        "success": np.arange(len(ROLLOUTS)) < CALIBRATION + 2,
        "is_calibration": np.arange(len(ROLLOUTS)) < CALIBRATION,
        "meta_json": np.array(json.dumps(meta)),
    }


def with_value(name: str, value: float, rollout: int = 2, decision: int = 3) -> Arrays:
    """One decision of one rollout has another value."""
    arrays = good_arrays()
    arrays[name][STARTS[rollout] + decision] = value
    return arrays


def with_changes(**changes: Callable[[Any], Any]) -> Arrays:
    arrays = good_arrays()
    return arrays | {name: change(arrays[name]) for name, change in changes.items()}


def with_lengths(rollouts: int, decisions: int) -> Arrays:
    """Only so many rollouts, of so many decisions each."""
    arrays = good_arrays()
    kept = np.concatenate([start + np.arange(decisions) for start in STARTS[:rollouts]])
    for name in ("action_chunks", "obs_embedding", "ee_pos", "stamp"):
        arrays[name] = arrays[name][kept]
    for name in ("success", "is_calibration"):
        arrays[name] = arrays[name][:rollouts]
    arrays["episode_length"] = np.full(rollouts, decisions)
    arrays["episode_start"] = decisions * np.arange(rollouts)
    return arrays


def write(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def run(*arguments: object) -> tuple[int, str]:
    """The exit code and what was printed, in one line."""
    result = run_here(*arguments)
    return result.exit_code, " ".join(result.output.split())


def refusal(*arguments: object) -> str:
    code, printed = run(*arguments)
    assert code == 1
    assert printed.count("failure-monitor: ") == 1
    return printed.split("failure-monitor: ")[1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    archive = write(folder / "good.npz", good_arrays())
    code, printed = run("calibrate", archive, "--output", folder / "bundle", "--jobs", 1)
    assert code == 0, printed
    return folder / "bundle"


@pytest.mark.parametrize(
    ("array", "value", "sentence"),
    [
        ("obs_embedding", NAN, "6 of 6 of the embedding's values are NaN or infinite"),
        ("obs_embedding", -INFINITE, "6 of 6 of the embedding's values are NaN or infinite"),
        ("action_chunks", INFINITE, "60 of 60 of the action chunks' values are NaN or infinite"),
        ("ee_pos", NAN, "2 of 2 of the measured positions are NaN or infinite"),
    ],
)
def test_values_that_are_not_finite_are_named_by_file_rollout_and_decision(
    tmp_path, bundle, array, value, sentence
):
    archive = write(tmp_path / "bad.npz", with_value(array, value))
    output = tmp_path / "bundle"
    assert refusal("calibrate", archive, "--output", output).startswith(
        f"bad/002, decision 3: {sentence}"
    )
    assert not output.exists()
    archive = write(tmp_path / "bad.npz", with_value(array, value, rollout=13))
    assert refusal("evaluate", bundle, archive).startswith(f"bad/013, decision 3: {sentence}")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (NAN, "is NaN or infinite at its decision 3"),
        (INFINITE, "is NaN or infinite at its decision 3"),
        (-9, "does not rise: its decision 2 is of 0.2 s and the next of -9 s"),
    ],
)
def test_stamps_that_are_none_are_named_by_file_rollout_and_decision(
    tmp_path, bundle, value, sentence
):
    archive = write(tmp_path / "bad.npz", with_value("stamp", value))
    output = tmp_path / "bundle"
    assert refusal("calibrate", archive, "--output", output).startswith(
        f"{archive}: 'stamp' of rollout 2 {sentence}"
    )
    assert not output.exists()
    archive = write(tmp_path / "bad.npz", with_value("stamp", value, rollout=13))
    assert refusal("evaluate", bundle, archive).startswith(
        f"{archive}: 'stamp' of rollout 13 {sentence}"
    )


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (with_changes(obs_embedding=lambda e: e[:-1]), "the array 'obs_embedding' is float32 ("),
        (with_changes(action_chunks=lambda c: c[..., :1]), "'action_names' in 'meta_json' is ["),
        (with_changes(success=lambda s: s[:-1]), "the array 'success' is bool (15,), expected"),
        (
            with_changes(episode_length=lambda n: np.where(np.arange(len(n)) == 5, 0, n)),
            "'episode_length' of rollout 5 is 0, expected 1 or more",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_named_by_file_and_array(tmp_path, arrays, sentence):
    archive = write(tmp_path / "bad.npz", arrays)
    refused = refusal("calibrate", archive, "--output", tmp_path / "bundle")
    assert refused.startswith(f"{archive}: {sentence}")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"action_chunks": lambda c: c[:, :3]}, "samples 5 against 3"),
        ({"action_chunks": lambda c: c[:, :, :4]}, "horizon 6 against 4"),
        ({"obs_embedding": lambda e: e[:, :4]}, "embedding size 6 against 4"),
    ],
)
def test_archives_of_several_policies_are_named(tmp_path, changes, sentence):
    good = write(tmp_path / "good.npz", good_arrays())
    other = write(tmp_path / "other.npz", with_changes(**changes))
    refused = refusal("calibrate", good, other, "--output", tmp_path / "bundle")
    assert f"good/000 ({good}) and other/000 ({other}) are not of the same policy" in refused
    assert sentence in refused


@pytest.mark.parametrize(
    "score", ["stac", "stac_single", "one_step", "command_effect", "tracking"]
)
def test_rollouts_of_one_decision_are_refused_by_scores_of_two(tmp_path, score):
    archive = write(tmp_path / "short.npz", with_lengths(CALIBRATION, 1))
    refused = refusal("calibrate", archive, "--scores", score, "--output", tmp_path / "bundle")
    assert refused.startswith(f"{score}: every rollout, short/0")
    assert "has a single decision" in refused


def test_rollouts_of_one_decision_calibrate_what_can_be_said_of_them(tmp_path):
    archive = write(tmp_path / "short.npz", with_lengths(CALIBRATION, 1))
    output = tmp_path / "bundle"
    code, printed = run("calibrate", archive, "--output", output, "--jobs", 1)
    assert code == 0
    assert "without the score one_step: every rollout" in printed
    scores = [score.name for score in load(output).description.scores]
    assert scores == ["dispersion_profile", "phase_knn", "chunk_lag"]
    code, _ = run("evaluate", output, write(tmp_path / "tests.npz", good_arrays()))
    assert code == 0


@pytest.mark.parametrize(
    ("arrays", "score", "sentence"),
    [
        (with_changes(obs_embedding=np.ones_like), "knn", "the embeddings are the same at every"),
        (with_changes(obs_embedding=np.ones_like), "rnd_oe", "the embeddings are the same at"),
        (with_changes(action_chunks=np.ones_like), "ace", "all sampled chunks of every decision"),
        (with_changes(action_chunks=np.ones_like), "chunk_lag", "the mean action chunks are the"),
        (with_changes(action_chunks=np.ones_like), "stac", "all sampled chunks of every decision"),
    ],
)
def test_what_never_changes_is_refused_by_the_scores_that_look_at_it(
    tmp_path, arrays, score, sentence
):
    archive = write(tmp_path / "same.npz", arrays)
    refused = refusal("calibrate", archive, "--scores", score, "--output", tmp_path / "bundle")
    assert refused.startswith(f"{score}: {sentence}")


def test_what_never_changes_leaves_the_default_rule_with_remarks(tmp_path):
    archive = write(tmp_path / "same.npz", with_changes(obs_embedding=np.ones_like))
    code, printed = run("calibrate", archive, "--output", tmp_path / "bundle", "--jobs", 1)
    assert code == 0
    for score in ("command_effect", "one_step", "phase_knn"):
        assert f"without the score {score}: the embeddings are the same" in printed


@pytest.mark.parametrize(
    ("arrays", "options", "sentence"),
    [
        (
            with_lengths(4, 5),
            ["--alpha", 0.3, "--folds", 5],
            "4 rollouts cannot be dealt into 5 folds",
        ),
        (
            with_lengths(8, 5),
            [],
            "8 calibration rollouts cannot promise a false-alarm rate of 0.1",
        ),
        (with_changes(success=np.zeros_like), [], "no rollout is left to calibrate on"),
    ],
)
def test_too_few_rollouts_are_refused_with_what_is_needed(tmp_path, arrays, options, sentence):
    archive = write(tmp_path / "few.npz", arrays)
    refused = refusal("calibrate", archive, *options, "--output", tmp_path / "bundle")
    assert refused.startswith(sentence)


def test_rollouts_without_outcomes_cannot_be_evaluated(tmp_path, bundle):
    archive = write(tmp_path / "unlabelled.npz", good_arrays() | {"success": None})
    refused = refusal("evaluate", bundle, archive)
    assert refused.startswith(f"{archive} has no array 'success'")
    known = np.arange(len(ROLLOUTS)) != 14
    archive = write(tmp_path / "unlabelled.npz", good_arrays() | {"success_known": known})
    refused = refusal("evaluate", bundle, archive)
    assert "(unlabelled/014): record whether they succeeded" in refused
