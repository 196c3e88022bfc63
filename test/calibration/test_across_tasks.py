# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One promise for rollouts of any task, also of one that was never seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from testbed.command_line import run_here
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import load, save
from failure_monitor.bundle.promise_text import promise_rows
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.cross_fitting import deal_tasks
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.budget_options import BudgetOptions
from failure_monitor.decision import Rollout
from failure_monitor.monitoring.alarm import Alarm, AlarmState
from failure_monitor.report.headline import calibrated
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.thresholds.conformal import CalibrationError

ACROSS = CalibrationSettings(
    scores=("ace", "phase_knn"), rule="any", promise="across-tasks", alpha=0.2, jobs=1
)


def of_tasks(counts: list[int]) -> list[Rollout]:
    return [
        dataclasses.replace(synthetic_rollout(10 * task + number), task=f"task {task}")
        for task, count in enumerate(counts)
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return calibrate(of_tasks([3, 1, 4, 2]), POLICY, ACROSS)


@pytest.fixture(scope="module")
def short() -> Bundle:
    """Of two tasks, and four are needed."""
    return calibrate(of_tasks([3, 3]), POLICY, ACROSS)


def test_a_fold_holds_whole_tasks(bundle):
    folds: dict[str, set[int | None]] = {}
    for section in bundle.calibration:
        folds.setdefault(section.task, set()).add(section.fold)
    assert sorted(map(len, folds.values())) == [1, 1, 1, 1]
    assert set().union(*folds.values()) == {0, 1, 2, 3}
    assert bundle.description.folds == 4


def test_any_task_is_watched_by_all_rollouts(bundle, tmp_path):
    save(bundle, tmp_path / "bundle")
    loaded = load(tmp_path / "bundle")
    rollout = synthetic_rollout(90)
    levels = [
        loaded.levels(dataclasses.replace(rollout, task=task)) for task in ("task 1", "new", "")
    ]
    np.testing.assert_array_equal(levels[0], levels[1])
    np.testing.assert_array_equal(levels[0], levels[2])
    np.testing.assert_array_equal(levels[0], bundle.levels(rollout))
    (verdict, *_) = map(loaded.monitor("new").update, rollout.decisions())
    assert (verdict.rollouts, verdict.caution) == (10, "")
    assert len(loaded.calibration_of(rollout)) == 10
    # Ranks among rollouts are none where these do not weigh the same.
    assert loaded.compare(rollout)[1] is None


def test_the_promise_is_of_tasks(bundle):
    (promise,) = bundle.description.promises
    assert (promise.task, promise.rollouts, promise.tasks, promise.rank) == ("", 10, 4, 4)
    assert promise.smallest_alpha == pytest.approx(0.2)
    said = dict(promise_rows(bundle)[0])
    assert "each of 4 tasks weighs the same" in said["calibrated on"]
    assert said["smallest alpha"] == "0.200 with this many tasks"
    assert "caution" not in said


def test_too_few_tasks_are_watched_in_caution_with_the_reason(short):
    reason = "calibrated across 2 tasks, which promise false alarms in at most 0.33"
    assert reason in dict(promise_rows(short)[0])["caution"]
    monitor, alarm = short.monitor("new"), Alarm(max_decision_age=1.0)
    alarm.start_rollout()
    for number, decision in enumerate(synthetic_rollout(91).decisions()):
        alarm.update(monitor.update(decision), float(number), float(number))
        status = alarm.status(float(number))
        assert status.state != AlarmState.NOMINAL
        assert reason in status.reason
    assert "4 tasks promise 0.2" in status.reason


def test_no_page_promises_more_than_too_few_tasks_can(short):
    assert (short.alpha, short.promised_rate) == (0.2, pytest.approx(1 / 3))
    words = [text for _, text in promise_rows(short)[0]]
    assert "a successful rollout raises an alarm with a chance of at most 0.333" in words
    assert any(text.startswith("proved is at most 0.667") for text in words)
    assert calibrated(short).startswith("At most 33 % of successful rollouts will raise an alarm")
    ((_, budget),) = BudgetOptions(rollouts_per_day=3).rows(short)
    assert "at most 7 false stops a week on average" in budget


def test_what_is_unlike_all_tasks_raises_an_alarm_all_the_same(short):
    rollout = synthetic_rollout(92)
    rollout.embeddings[6:] += np.float32(5.0)
    assert short.levels(rollout).max() > 1


@pytest.mark.parametrize(
    ("rollouts", "why"),
    [
        (of_tasks([6]), "needs rollouts of 2 or more tasks, and these are of task 0 alone"),
        ([synthetic_rollout(seed) for seed in range(6)], "2 or more tasks, and these name none"),
    ],
)
def test_less_than_two_named_tasks_are_refused(rollouts, why):
    with pytest.raises(CalibrationError, match=why):
        calibrate(rollouts, POLICY, ACROSS)


def test_scores_may_be_fitted_on_other_tasks(bundle):
    apart = calibrate(
        of_tasks([2, 2, 2, 2]), POLICY, ACROSS, fit_rollouts=of_tasks([0, 0, 0, 0, 6])
    )
    assert {section.fold for section in apart.calibration} == {0}
    assert apart.promise("new").tasks == 4


def test_the_command_promises_across_tasks_and_says_so(tmp_path):
    write_archive(tmp_path / "tasks.npz", RolloutSet(POLICY, tuple(of_tasks([3, 1, 4, 2]))))
    made = run_here(
        *("calibrate", tmp_path / "tasks.npz", "--promise", "across-tasks", "--alpha", 0.2),
        *("--scores", "ace,phase_knn", "--jobs", 1, "--output", tmp_path / "bundle"),
    )
    assert made.exit_code == 0, made.output
    said = " ".join(made.stdout.replace("│", " ").split())
    assert "any task that is like these tasks" in said
    inspected = run_here("inspect", tmp_path / "bundle")
    assert "each of 4 tasks weighs the same" in " ".join(inspected.stdout.split())


def test_tasks_are_dealt_whole_and_evenly():
    tasks = ["a"] * 3 + ["b"] + ["c"] * 4 + ["d"] * 2 + ["e"]
    folds = deal_tasks(tasks, 2, seed=1)
    of_task = {task: set(folds[np.array(tasks) == task]) for task in "abcde"}
    assert [len(found) for found in of_task.values()] == [1] * 5
    assert sorted(np.bincount([min(found) for found in of_task.values()])) == [2, 3]
