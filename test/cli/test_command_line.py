# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: files in, one clear sentence or a result out."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from testbed.command_line import run_command, run_here, write_rollout_bag
from testbed.fiper_episodes import write_folder
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.folder import load
from failure_monitor.decision import Rollout
from failure_monitor.sources.rollouts import read_rollouts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bags")


@pytest.fixture(scope="module")
def successes(folder):
    for seed in range(10):
        write_rollout_bag(folder / "successes" / f"rollout_{seed}", synthetic_rollout(seed))
    return folder / "successes"


@pytest.fixture(scope="module")
def tests(folder):
    """Three successes, and three failures whose embeddings go astray half-way."""
    for seed in range(20, 23):
        write_rollout_bag(folder / "tests" / f"success_{seed}", synthetic_rollout(seed))
        failed = synthetic_rollout(seed + 10)
        failed.embeddings[6:] += np.float32(4)
        write_rollout_bag(folder / "tests" / f"failure_{seed}", failed, success=False)
    return folder / "tests"


@pytest.fixture(scope="module")
def calibrated(folder, successes):
    return run_here(
        "calibrate",
        successes,
        "--output",
        folder / "bundle",
        *("--scores", "rnd_oe,ace", "--rule", "any"),
        *("--window", "2", "--folds", "5", "--jobs", "1"),
        *("--action-kind", "delta", "--position-names", "dx,dy"),
    )


def test_calibrate_writes_a_bundle_and_prints_its_promise(calibrated, folder):
    assert calibrated.exit_code == 0, calibrated.stderr
    assert "with a chance of at most 0.1" in calibrated.stdout
    assert "10 rollouts, cross-fitted in 5 folds" in calibrated.stdout
    bundle = load(folder / "bundle")
    printed = " ".join(calibrated.stdout.replace("│", " ").split())
    low, high = bundle.promise().false_alarm_interval_90
    for words in (
        "an alarm is raised where 10 of them lie below",
        f"the true rate lies between about {low:.3f} and {high:.3f} (90 %)",
        # 1 of 11: the new rollout is as likely to be the largest as any other.
        "smallest alpha 0.091 with this many rollouts",
    ):
        assert words in printed.replace("┃", " ")
    assert bundle.policy == POLICY
    assert (bundle.rule, bundle.alpha, bundle.description.window) == ("any", 0.1, 2)
    assert [score.name for score in bundle.scores] == ["rnd_oe", "ace"]


def test_progress_goes_to_standard_error_and_the_result_to_standard_output(calibrated):
    assert "fold 5 of 5" in calibrated.stderr
    assert "fold 5 of 5" not in calibrated.stdout


def test_evaluate_measures_the_bundle_on_rollouts_with_outcomes(calibrated, folder, tests):
    result = run_here("evaluate", folder / "bundle", tests, "--json", folder / "results.json")
    assert result.exit_code == 0, result.stderr
    assert "elapsed" in result.stdout
    results = json.loads((folder / "results.json").read_text())
    overall = results["metrics"]["overall"]
    assert (overall["tpr"], overall["n_failure"], overall["n_success"]) == (1.0, 3, 3)
    failed = [rollout for rollout in results["rollouts"] if not rollout["success"]]
    assert {rollout["alarm_decision"] for rollout in failed} == {6}
    control = results["elapsed_time_control"]["overall"]
    assert control["tpr"] < overall["tpr"]


@pytest.mark.slow
def test_calibrate_fits_scores_and_time_varying_thresholds_on_other_rollouts(successes, folder):
    for seed in range(40, 46):
        write_rollout_bag(folder / "to_fit_on" / f"rollout_{seed}", synthetic_rollout(seed))
    result = run_here(
        "calibrate",
        successes,
        *("--fit", folder / "to_fit_on" / "rollout_40", "--fit", folder / "to_fit_on"),
        *("--output", folder / "fitted_apart", "--jobs", "1"),
    )
    assert result.exit_code == 1
    assert "are the same rollout" in result.stderr
    result = run_here(
        "calibrate",
        successes,
        *("--fit", folder / "to_fit_on", "--scores", "ace", "--rule", "any"),
        *("--threshold", "time-varying"),
        *("--output", folder / "fitted_apart", "--jobs", "1"),
    )
    assert result.exit_code == 0, result.stderr
    assert "10 rollouts, with scores fitted on 6 others" in result.stdout
    assert "over 12 decisions" in result.stdout
    bundle = load(folder / "fitted_apart")
    assert len(bundle.fit) == 6
    assert bundle.description.threshold == "time-varying"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--alpha", "0.05"], 1, "record 19 successful rollouts, or ask for 0.091"),
        (["--threshold", "wavy"], 2, "there is no threshold 'wavy': choose constant, time-varyi"),
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
    result = run_here("calibrate", successes, "--output", tmp_path / "bundle", *arguments)
    assert result.exit_code == code
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failure_among_the_successes_is_left_out_by_name(successes, tests, tmp_path):
    arguments = ("--scores", "ace", "--output", tmp_path / "bundle")
    result = run_here("calibrate", successes, tests / "failure_20", *arguments)
    assert result.exit_code == 0
    assert "1 of 11 rollouts failed, by what is known of them" in " ".join(result.output.split())
    assert "failure_20" in result.output
    assert "failure_20" not in (tmp_path / "bundle" / "bundle.yaml").read_text()


@pytest.mark.slow
def test_a_deterministic_policy_is_refused(tmp_path):
    for seed in range(10):
        rollout = synthetic_rollout(seed)
        rollout.chunks[:] = rollout.chunks[:, :1]
        write_rollout_bag(tmp_path / "bags" / f"rollout_{seed}", rollout)
    arguments = ("calibrate", tmp_path / "bags", "--output", tmp_path / "bundle")
    result = run_here(*arguments, "--rule", "fiper")
    assert result.exit_code == 1
    assert "the policy is deterministic" in result.stderr
    assert not (tmp_path / "bundle").exists()


def test_the_default_rule_leaves_out_what_the_policy_does_not_allow_and_says_so(tmp_path):
    for seed in range(10):
        rollout = synthetic_rollout(seed)
        rollout.chunks[:] = rollout.chunks[:, :1]
        write_rollout_bag(tmp_path / "bags" / f"rollout_{seed}", rollout)
    result = run_here(
        *("calibrate", tmp_path / "bags", "--output", tmp_path / "bundle", "--jobs", "1")
    )
    assert result.exit_code == 0, result.stderr
    said = " ".join(result.stderr.split())
    assert "the rule is of one_step, phase_knn, chunk_lag: the best that is known for" in said
    assert "one chunk a decision, or several that are the same: with 16 sampled" in said
    assert "unknown how many actions of a chunk are executed" in said
    description = load(tmp_path / "bundle").description
    assert len(description.rule_choice) == 4
    assert "why this rule" in run_here("inspect", tmp_path / "bundle").stdout
    assert (description.rule, description.window) == ("mean", 3)
    assert [score.name for score in description.scores] == ["one_step", "phase_knn", "chunk_lag"]


def test_rollouts_of_another_policy_cannot_be_evaluated(calibrated, folder, tmp_path):
    other = synthetic_rollout(0)
    longer = Rollout("other", other.stamps, np.tile(other.embeddings, 2), other.chunks)
    write_rollout_bag(tmp_path / "other", longer)
    result = run_here("evaluate", folder / "bundle", tmp_path / "other")
    assert result.exit_code == 1
    assert "embedding" in result.stderr
    assert "12" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_damaged_bundle_is_refused_by_the_name_of_its_file(calibrated, folder, tests, tmp_path):
    damaged = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    (damaged / "rnd_oe.0.network.onnx").write_bytes(b"")
    result = run_here("evaluate", damaged, tests)
    assert result.exit_code == 1
    assert "rnd_oe.0.network.onnx is not the file that was calibrated" in result.stderr


@pytest.fixture(scope="module")
def archived(folder, successes):
    return run_here(
        "archive",
        successes,
        *("--output", folder / "successes.npz"),
        *("--action-kind", "delta", "--position-names", "dx,dy", "--executed-actions", "2"),
    )


def test_archive_says_what_it_wrote(archived, folder):
    assert archived.exit_code == 0, archived.stderr
    assert "10: 10 succeeded, 0 failed, 0 without an outcome" in archived.stdout
    assert "120" in archived.stdout
    assert "a delta; dx, dy span positions" in archived.stdout
    assert "2 actions of a chunk" in archived.stdout
    size = (folder / "successes.npz").stat().st_size
    assert f"wrote {folder / 'successes.npz'}, {size} bytes" in archived.stdout


@pytest.mark.slow
def test_an_archive_of_bags_calibrates_to_the_thresholds_of_the_bags(calibrated, archived, folder):
    result = run_here(
        "calibrate",
        folder / "successes.npz",
        *("--output", folder / "bundle_of_archive"),
        *("--scores", "rnd_oe,ace", "--rule", "any"),
        *("--window", "2", "--folds", "5", "--jobs", "1"),
    )
    assert result.exit_code == 0, result.stderr
    ours, theirs = load(folder / "bundle_of_archive"), load(folder / "bundle")
    assert ours.description.promises == theirs.description.promises
    assert [rollout.sha256 for rollout in ours.calibration] == [
        rollout.sha256 for rollout in theirs.calibration
    ]
    assert ours.policy == replace(theirs.policy, executed_actions=2)


@pytest.mark.slow
def test_an_archive_of_bags_evaluates_as_the_bags_do(calibrated, folder, tests, tmp_path):
    archived = run_here("archive", tests, "--output", tmp_path / "tests.npz")
    assert "6: 3 succeeded, 3 failed, 0 without an outcome" in archived.stdout
    store = tmp_path / "store"
    first, *others = sorted(tests.iterdir())
    assert "wrote 1 rollouts into" in run_here("archive", first, "--output", store).stdout
    # What is there is not stored again.
    again = run_here("archive", tests, "--output", store)
    assert f"wrote {len(others)} rollouts into" in again.stdout, again.stderr
    assert "1 were there" in again.stdout
    results = []
    for name, source, *how in (
        ("bags", tests),
        ("archive", tmp_path / "tests.npz"),
        ("store", store),
        ("workers", store, "--skip-unreadable", "--jobs", 2),
    ):
        json_file = tmp_path / f"{name}.json"
        result = run_here("evaluate", folder / "bundle", source, "--json", json_file, *how)
        assert result.exit_code == 0, result.stderr
        results.append(json.loads(json_file.read_text()))
    assert all(result == results[0] for result in results)


def test_a_fiper_folder_becomes_an_archive(tmp_path):
    fiper_folder = write_folder(tmp_path / "rollouts")
    result = run_command("archive", fiper_folder, "--output", tmp_path / "set.npz")
    assert result.returncode == 0, result.stderr
    assert "3: 2 succeeded, 1 failed, 0 without an outcome" in result.stdout
    assert "1 of the 2 episodes in calibration/ failed" in " ".join(result.stderr.split())
    archived = read_rollouts([tmp_path / "set.npz"])
    assert archived.policy == read_rollouts([fiper_folder]).policy


@pytest.mark.slow
def test_archives_carry_their_tasks_into_a_bundle_with_a_limit_for_each(successes, tmp_path):
    for task in ("pick", "place"):
        for seed in range(60, 70):
            shift = 0 if task == "pick" else 100
            write_rollout_bag(tmp_path / task / f"rollout_{seed}", synthetic_rollout(seed + shift))
        archive = tmp_path / f"{task}.npz"
        run_here("archive", tmp_path / task, "--task", task, "--output", archive)
    result = run_here(
        "calibrate",
        *(tmp_path / "pick.npz", tmp_path / "place.npz", "--output", tmp_path / "bundle"),
        *("--scores", "ace", "--rule", "any", "--jobs", "1"),
    )
    assert result.exit_code == 0, result.stderr
    assert [promise.task for promise in load(tmp_path / "bundle").description.promises] == [
        "pick",
        "place",
    ]
    evaluations = [
        run_here("evaluate", tmp_path / "bundle", successes, *told)
        for told in ([], ["--task", "place"])
    ]
    assert [evaluation.exit_code for evaluation in evaluations] == [1, 0]
    assert "no task is named" in evaluations[0].stderr


@pytest.mark.parametrize(
    ("output", "code", "sentence"),
    [
        ("set.zip", 2, "name a file that ends in .npz"),
        ("nowhere/set.npz", 2, "there is no folder"),
        ("set.npz", 1, "nowhere does not exist"),
    ],
)
def test_archive_refuses_in_one_sentence_and_writes_nothing(tmp_path, output, code, sentence):
    result = run_here("archive", tmp_path / "nowhere", "--output", tmp_path / output)
    assert result.exit_code == code
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_does_not_wait_for_torch():
    script = "import sys, failure_monitor.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize(
    ("command", "hidden", "remedy"),
    [
        ("calibrate", "torch", "pip install 'failure_monitor[calibrate]'"),
        ("calibrate", "rosbags", "pip install rosbags"),
        ("demo", "metaworld", "pip install 'failure_monitor[demo]'"),
        ("demo", "rclpy", "source its setup file"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_extra_that_brings_it(
    successes, tmp_path, command, hidden, remedy
):
    trained = ["--scores", "rnd_oe", "--rule", "any", "--jobs", "1"]
    options = trained if command == "calibrate" else []
    # As on a machine without it: neither imported nor found.
    script = f"""
import importlib.util, sys
sys.modules[{hidden!r}] = None
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == {hidden!r} else find_spec(name)
from failure_monitor.cli import main
sys.argv = ["failure-monitor", {command!r}, {str(successes)!r}, "--output", "bundle"]
sys.argv += {options!r}
main()
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    sentence = " ".join(result.stderr.split())
    assert f"the Python package '{hidden}' is needed and not installed" in sentence
    assert remedy in sentence
    trained = "for the score rnd_oe, which is trained" in sentence
    assert trained == (command == "calibrate" and hidden in ("torch", "onnx"))


@pytest.mark.slow
def test_a_score_that_must_know_how_much_is_executed_says_how_to_say_it(folder, successes, tests):
    arguments = (
        *("calibrate", successes, "--output", folder / "stac", "--rule", "any"),
        *("--scores", "stac", "--folds", "2", "--jobs", "1", "--action-kind", "delta"),
    )
    refused = run_here(*arguments)
    assert refused.exit_code == 1
    assert "stac: how many actions of a chunk are executed" in refused.stderr
    assert "--executed-actions" in refused.stderr
    done = run_here(*arguments, "--executed-actions", "2")
    assert done.exit_code == 0, done.stderr
    assert load(folder / "stac").policy.executed_actions == 2
    assert run_here("evaluate", folder / "stac", tests).exit_code == 0
