# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`inspect` answers what a reviewer asks of a bundle, of two, and of bags."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from testbed.bags import ACTIVE, BEGIN, PERIOD, SUCCESS, BagBuilder, decision_arrays, write_bag
from testbed.command_line import run_here
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle import folder as bundle_files
from failure_monitor.bundle.description import BundleDescription
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.schema import read
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet


def said(*arguments: object) -> str:
    """What is printed, without the tables' lines, with single spaces."""
    result = run_here("inspect", *arguments)
    assert result.exit_code == 0, result.output
    return re.sub(r"\s+", " ", re.sub(r"[─-╿]", " ", result.stdout))


def write_bundle(path: Path, *, rollouts: range = range(12), task: str = "", **settings) -> Path:
    chosen = CalibrationSettings(
        **{"scores": ("ace", "knn"), "rule": "mean", "folds": 3, "jobs": 1, **settings}
    )
    successes = [replace(synthetic_rollout(seed), task=task) for seed in rollouts]
    bundle_files.save(calibrate(successes, POLICY, chosen), path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "made")


def test_a_bundle_tells_what_was_promised_and_on_how_much(made: Path) -> None:
    text = said(made)
    assert "rule mean of ace, knn, window 3" in text
    assert "a successful rollout raises an alarm with a chance of at most 0.1" in text
    assert "12 rollouts, cross-fitted in 3 folds; an alarm is raised where 12 of them" in text
    assert "smallest alpha 0.077" in text


def test_a_bundle_tells_its_policy_settings_and_every_rollout(made: Path) -> None:
    text = said(made)
    assert "embeddings 6 numbers" in text
    assert "action chunks 16 samples of 5 actions with 3 dimensions" in text
    assert "a delta; dx, dy span positions" in text
    assert "folds, seed 3, 0" in text
    assert "a decision every 0.1 s" in text
    assert bundle_files.content_hash(made) in text
    for seed in range(12):
        assert f"rollout {seed} calibration 12 " in text
    size = (made / "arrays.npz").stat().st_size
    assert f"arrays.npz {size} " in text


def test_a_bundle_in_json_is_its_description(made: Path, tmp_path: Path) -> None:
    said(made, "--json", tmp_path / "bundle.json")
    content = json.loads((tmp_path / "bundle.json").read_text())
    assert content.pop("bundle_sha256") == bundle_files.content_hash(made)
    assert read(BundleDescription, content) == bundle_files.load(made).description


def test_a_changed_bundle_is_refused(made: Path, tmp_path: Path) -> None:
    copy = write_bundle(tmp_path / "copy")
    with (copy / "arrays.npz").open("ab") as file:
        file.write(b"x")
    result = run_here("inspect", copy)
    assert result.exit_code == 1
    assert "is not the file that was calibrated" in result.stderr


def test_two_bundles_show_their_differences(made: Path, tmp_path: Path) -> None:
    other = write_bundle(
        tmp_path / "other", rollouts=range(2, 15), alpha=0.2, scores=("ace", "elapsed_time")
    )
    text = said(made, other)
    assert "alpha 0.1 0.2" in text
    assert "scores[elapsed_time].name – elapsed_time" in text
    assert "scores[knn].name knn –" in text
    assert "promises.rollouts 12 13" in text
    assert (
        "rollouts for calibration that the other has not 2: rollout 0, rollout 1 "
        "3: rollout 12, rollout 13, rollout 14" in text
    )
    assert "file arrays.npz" in text
    assert "folds" not in text
    assert "window" not in text


def test_bundles_of_the_same_rollouts_and_seed_differ_in_their_date_alone(
    made: Path, tmp_path: Path
) -> None:
    again = write_bundle(tmp_path / "again")
    text = said(made, again, "--json", tmp_path / "differences.json")
    assert "The same but for the time at which they were made" in text
    content = json.loads((tmp_path / "differences.json").read_text())
    assert {difference["what"] for difference in content["differences"]} <= {"created"}


def test_limits_of_tasks_are_told_apart(tmp_path: Path) -> None:
    one = write_bundle(tmp_path / "one", task="pick")
    other = write_bundle(tmp_path / "other", task="place")
    text = said(one, other)
    assert "promises[pick].limit" in text
    assert "promises[place].limit" in text


def test_bundles_and_sources_do_not_mix(made: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    for paths in ((made, bag), (made, made, made)):
        result = run_here("inspect", *paths)
        assert result.exit_code == 2
        assert "name one bundle, two bundles, or sources only" in result.stderr


def test_bags_tell_their_topics_rates_outcomes_and_rollouts(tmp_path: Path) -> None:
    for seed, success in enumerate((True, False, None)):
        write_bag(tmp_path / "bags" / f"run_{seed}", 11, seed=seed, success=success)
    text = said(tmp_path / "bags", "--json", tmp_path / "bags.json")
    assert "/policy/embedding sensor_msgs/msg/PointCloud2 33 10.0 all embedding" in text
    assert "/rollout/success std_msgs/msg/Bool 2 0.9 2 of 3 success" in text
    assert "3: 1 succeeded, 1 failed, 1 without an outcome" in text
    assert "run_1 failure 11 1.0 10.0 0.100 0.000 s ± 0.000" in text
    content = json.loads((tmp_path / "bags.json").read_text())
    assert [rollout["outcome"] for rollout in content["rollouts"]] == [
        "success",
        "failure",
        "unknown",
    ]
    assert content["rollouts"][0]["rate"] == pytest.approx(10)
    assert content["policy"]["samples"] == 4
    assert {topic["name"] for topic in content["topics"]} >= {"/policy/embedding", ACTIVE, SUCCESS}


def test_delays_gaps_and_losses_are_told(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(4)
    with BagBuilder(tmp_path / "bag") as bag:
        for index, delay in enumerate((20, 30, 40)):
            stamp = BEGIN + (index + 2 * (index == 2)) * PERIOD
            bag.embedding(embeddings[index], stamp, received=stamp + delay * 1_000_000)
            bag.chunks(chunks[index], stamp, received=stamp + delay * 1_000_000)
        bag.embedding(embeddings[3], stamp + 1)
    text = said(tmp_path / "bag")
    assert "bag unknown 3 0.4 5.0 0.300 0.030 s ± 0.010 1" in text


def test_topics_are_shown_even_where_no_rollout_can_be_read(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        bag.flag("/something", True, BEGIN)
    result = run_here("inspect", tmp_path / "bag")
    assert result.exit_code == 1
    assert "/something" in result.stdout
    assert "has no topic /policy/action_chunks" in result.stderr
    assert "exported models of a policy that published nothing (--encoder" in result.stderr


def test_a_folder_into_which_nothing_was_recorded_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "bags" / ".part").mkdir(parents=True)
    result = run_here("inspect", tmp_path / "bags")
    assert result.exit_code == 1
    assert "bags holds no files: record rollouts into it" in result.stderr


def test_an_archive_is_inspected_like_a_bag(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 11)
    run_here("archive", bag, "--output", tmp_path / "bags.npz")
    text = said(tmp_path / "bags.npz")
    assert "bag success 11 1.0 10.0 0.100" in text
    assert "bag time" not in text


def test_results_that_cannot_be_written_are_told(made: Path, tmp_path: Path) -> None:
    result = run_here("inspect", made, "--json", tmp_path / "nowhere" / "file.json")
    assert result.exit_code == 2
    assert "--json: cannot write" in result.stderr


def test_what_a_source_holds_tells_of_interventions(tmp_path: Path) -> None:
    human = np.arange(12) == 4
    rollouts = [synthetic_rollout(seed, success=True) for seed in range(3)]
    rollouts[1] = replace(rollouts[1], interventions=human)
    write_archive(tmp_path / "some.npz", RolloutSet(POLICY, tuple(rollouts)))
    assert "interventions a human acted in 1 of them" in said(tmp_path / "some.npz")
