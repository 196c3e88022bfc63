# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle calibrated again: which rollouts come and go, what is refused, what changes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from testbed.command_line import run_here, write_rollout_bag
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle import folder as bundle_files
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import content_hash, load
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import Rollout
from failure_monitor.recalibration.chosen_rollouts import (
    RecalibrationError,
    Window,
    choose_rollouts,
)

OLD = range(12)
DAY = 86_400.0
YEAR_2000 = datetime(2000, 1, 1, tzinfo=timezone.utc).timestamp()


def dated(seed: int, **changed: object) -> Rollout:
    """A rollout of its own day, counted from the year 2000."""
    rollout = synthetic_rollout(seed)
    return replace(rollout, stamps=rollout.stamps + YEAR_2000 + seed * DAY, **changed)


@pytest.fixture(scope="module")
def made() -> Bundle:
    settings = CalibrationSettings(scores=("ace", "knn"), folds=3, jobs=1)
    return calibrate([dated(seed) for seed in OLD], POLICY, settings)


def chosen(made: Bundle, rollouts: list[Rollout], **window: object):
    return choose_rollouts(made.description, rollouts, Window(**window))


def numbers(rollouts) -> list[int]:
    return [int(rollout.name.split()[1]) for rollout in rollouts]


def test_new_rollouts_come_beside_old_ones(made):
    found = chosen(made, [dated(seed) for seed in range(15)])
    assert numbers(found.calibration) == [*range(15)]
    assert numbers(found.came) == [12, 13, 14]
    assert found.went == ()


def test_new_rollouts_come_instead_of_old_ones(made):
    found = chosen(made, [dated(seed) for seed in range(24)], replaces=True)
    assert numbers(found.calibration) == [*range(12, 24)]
    assert numbers(found.went) == [*OLD]


def test_a_window_by_count_is_of_the_newest_of_each_task(made):
    found = chosen(made, [dated(seed) for seed in reversed(range(15))], last=10)
    assert numbers(found.calibration) == [*range(5, 15)]
    assert numbers(found.went) == [*range(5)]
    tasks = [dated(seed, task="ab"[seed % 2]) for seed in range(12, 20)]
    found = chosen(made, tasks, last=2)
    assert sorted(numbers(found.calibration)) == [16, 17, 18, 19]


def test_a_window_by_date_takes_what_started_then_or_later(made):
    since = datetime(2000, 1, 9, tzinfo=timezone.utc)
    found = chosen(made, [dated(seed) for seed in range(15)], since=since)
    assert numbers(found.calibration) == [*range(8, 15)]


def test_old_rollouts_may_not_be_forgotten(made):
    with pytest.raises(RecalibrationError, match=r"2 of the 12 rollouts .* are not among these"):
        chosen(made, [dated(seed) for seed in range(2, 15)])


def test_without_a_new_rollout_there_is_nothing_to_do(made):
    with pytest.raises(RecalibrationError, match="no successful rollout is new"):
        chosen(made, [dated(seed) for seed in OLD])


def test_what_could_hide_a_failure_calibrates_nothing(made):
    human = np.arange(12) > 5
    rollouts = [dated(seed) for seed in range(15)]
    rollouts += [dated(20, success=False), dated(21, interventions=human)]
    found = chosen(made, rollouts)
    assert numbers(found.failed) == [20, 21]
    assert numbers(found.calibration) == [*range(15)]
    with pytest.raises(RecalibrationError, match=r"1 new rollouts have no outcome \(rollout 22\)"):
        chosen(made, [*rollouts, dated(22, success=None)])


def test_an_old_rollout_that_turned_out_a_failure_goes(made):
    rollouts = [dated(0, success=False), *(dated(seed) for seed in range(1, 12))]
    found = chosen(made, rollouts)
    assert numbers(found.failed) == [0]
    assert numbers(found.calibration) == [*range(1, 12)]
    assert [section.name for section in found.went] == ["rollout 0"]


def test_what_a_source_keeps_for_tests_calibrates_nothing(made):
    rollouts = [dated(seed) for seed in OLD]
    tests = [dated(seed, calibration=False) for seed in (20, 21)]
    with pytest.raises(RecalibrationError, match=r"is new \(2 are kept for tests"):
        chosen(made, [*rollouts, *tests])
    found = chosen(made, [*rollouts, *tests, dated(22, calibration=True)])
    assert numbers(found.came) == [22]
    assert numbers(found.for_tests) == [20, 21]


@pytest.mark.parametrize("window", [{"last": 10}, {"since": datetime(2000, 1, 9)}])
def test_a_window_of_time_needs_dates(made, window):
    undated = replace(dated(20), stamps=synthetic_rollout(20).stamps)
    rollouts = [*(dated(seed) for seed in range(15)), undated]
    with pytest.raises(RecalibrationError, match=r"of 1 rollouts are none, .* \(rollout 20\)"):
        chosen(made, rollouts, **window)
    assert numbers(chosen(made, rollouts, replaces=True).came) == [12, 13, 14, 20]


def test_rollouts_that_scores_were_fitted_on_are_needed_again():
    settings = CalibrationSettings(scores=("ace", "knn"), folds=3, jobs=1)
    made = calibrate(
        [dated(seed) for seed in OLD],
        POLICY,
        settings,
        fit_rollouts=[dated(seed) for seed in range(30, 36)],
    )
    with pytest.raises(RecalibrationError, match="fitted its scores on 6 rollouts that are not"):
        chosen(made, [dated(seed) for seed in range(15)])
    found = chosen(made, [dated(seed) for seed in (*range(15), *range(30, 36))])
    assert numbers(found.fit) == [*range(30, 36)]
    assert numbers(found.calibration) == [*range(15)]
    # What turned out a failure teaches no longer what success looks like.
    failed = [dated(30, success=False), *(dated(seed) for seed in range(31, 36))]
    found = chosen(made, [*(dated(seed) for seed in OLD), *failed])
    assert numbers(found.fit) == [*range(31, 36)]
    assert numbers(found.failed) == [30]
    with pytest.raises(RecalibrationError, match=r"all 6 rollouts .* have failed"):
        chosen(made, [dated(seed, success=seed < 30) for seed in (*OLD, *range(30, 36))])


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Old rollouts, new ones whose embeddings have drifted, and a failure further on."""
    folder = tmp_path_factory.mktemp("bags")
    for seed in OLD:
        write_rollout_bag(folder / "old" / f"rollout_{seed}", synthetic_rollout(seed))
    for seed in range(20, 32):
        write_rollout_bag(folder / "new" / f"rollout_{seed}", drifted(seed, 0.5))
    write_rollout_bag(folder / "failed" / "rollout_40", drifted(40, 0.5), success=False)
    return folder


def drifted(seed: int, by: float) -> Rollout:
    rollout = synthetic_rollout(seed)
    return replace(rollout, embeddings=rollout.embeddings + np.float32(by))


@pytest.fixture(scope="module")
def calibrated(bags: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "old"
    result = run_here(
        "calibrate", bags / "old", "--output", path, "--scores", "ace,knn", "--jobs", 1
    )
    assert result.exit_code == 0, result.output
    return path


def said(*arguments: object, code: int = 0) -> str:
    result = run_here("recalibrate", *arguments, "--jobs", 1)
    assert result.exit_code == code, result.output
    return re.sub(r"\s+", " ", re.sub(r"[─-╿]", " ", result.output))


def test_the_effect_is_shown_before_anything_is_written(calibrated, bags):
    text = said(calibrated, bags / "new", "--replace")
    assert "12 before; 12 came, 12 went; 12 now" in text
    assert "promise before broken since rollout" in text
    assert re.search(r"threshold of knn [\d.]+ before, [\d.]+ now", text)
    assert re.search(r"alarms in new successes [1-9]\d* of 12 before, [01] now", text)
    assert "wrote" not in text


def test_the_new_bundle_knows_where_it_comes_from_and_promises_again(calibrated, bags, tmp_path):
    new = tmp_path / "new"
    said(calibrated, bags / "old", bags / "new", "--output", new)
    bundle = load(new)
    (step,) = bundle.description.lineage
    assert step.parent == content_hash(calibrated)
    assert (len(step.came), step.went) == (12, ())
    assert len(bundle.calibration) == 24
    assert bundle.description.scores[1].name == "knn"
    shown = run_here("inspect", new)
    assert "12 rollouts came, 0 went" in re.sub(r"\s+", " ", shown.stdout)
    again = tmp_path / "again"
    said(new, bags / "new", "--last", 10, "--alpha", 0.2, "--output", again, code=1)
    assert not again.exists()


def test_a_failure_that_would_be_missed_from_now_on_is_a_reason_to_refuse(
    calibrated, bags, tmp_path
):
    new = tmp_path / "new"
    sources = (calibrated, bags / "new", bags / "failed", "--replace", "--output", new)
    text = said(*sources, code=1)
    assert "would raise no alarm in 1 failed rollouts in which the old one did" in text
    assert not new.exists()
    assert "missed from now on" in said(*sources, "--accept-missed")
    assert bundle_files.load(new).description.lineage


def test_a_date_is_a_date(calibrated, bags):
    text = said(calibrated, bags / "new", "--since", "yesterday", code=2)
    assert "'--since yesterday' is no date" in text


@pytest.fixture(scope="module")
def shifts(bags: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels: old rollouts are of the morning, new ones of the evening but for three."""
    path = tmp_path_factory.mktemp("labels") / "shifts.csv"
    lines = [f"rollout_{seed},morning" for seed in (*OLD, 20, 21, 22)]
    lines += [f"rollout_{seed},evening" for seed in range(23, 32)]
    path.write_text("\n".join(["rollout,group", *lines]) + "\n")
    return path


def test_rollouts_are_weighed_for_groups_to_come(calibrated, bags, shifts, tmp_path):
    new = tmp_path / "new"
    sources = (calibrated, bags / "old", bags / "new", "--labels", shifts)
    text = said(*sources, "--future", "evening=0.8,morning=0.2", "--output", new)
    assert "group evening 9 of 24 rollouts; a share of 0.8 to come" in text
    # (0.8 · 9/10 + 0.2 · 15/16)² / (9 (0.8/10)² + 15 (0.2/16)²) = 13.7
    assert "they count as 13 rollouts of one weight (Kish)" in text
    bundle = load(new)
    assert bundle.description.future == {"evening": 0.8, "morning": 0.2}
    (promise,) = bundle.description.promises
    assert promise.smallest_alpha == pytest.approx(0.8 / 10 + 0.2 / 16)
    assert bundle.threshold().limit == promise.limit
    weights = {
        each.group: weight
        for each, weight in zip(bundle.calibration, bundle.threshold().weights, strict=True)
    }
    assert weights == pytest.approx({"evening": 0.08, "morning": 0.0125})
    shown = re.sub(r"\s+", " ", run_here("inspect", new).stdout)
    assert "that is found, not proved" in shown
    assert "weighed for these shares of successes: evening 0.8, morning 0.2" in shown
    assert "they count as 13, and an alarm is raised where the weights of those below" in shown
    assert re.search(r"rollout_23 . calibration . evening", shown)
    watched = run_here("promise", new, bags / "new")
    assert watched.exit_code == 1
    assert "a shift of groups is expected" in re.sub(r"\s+", " ", watched.output)


def test_groups_to_come_are_those_of_the_new_rollouts_where_asked(calibrated, bags, shifts):
    sources = (calibrated, bags / "old", bags / "new")
    text = said(*sources, "--labels", shifts, "--future", "as-new")
    assert "group evening 9 of 24 rollouts; a share of 0.75 to come" in text
    assert "group morning 15 of 24 rollouts; a share of 0.25 to come" in text
    assert "12 of the new rollouts name no group" in said(*sources, "--future", "as-new", code=1)
    text = said(*sources, "--future", "evening=1", code=1)
    assert "24 of the rollouts name no group" in text


@pytest.mark.parametrize(
    ("shares", "words", "code"),
    [
        ("night=1", "night has no calibration rollout", 1),
        ("evening=1", None, 1),
        ("evening", "names no shares", 2),
        ("evening=0.7,morning=0.1", "the shares sum up to 0.8, expected 1", 2),
        ("evening=nan,morning=1", "the share of evening is 'nan'", 2),
        ("evening=0.5,evening=0.5", "names evening twice", 2),
    ],
)
def test_shares_that_cannot_be_weighed_are_refused(calibrated, bags, shifts, shares, words, code):
    sources = (calibrated, bags / "old", bags / "new", "--labels", shifts, "--future", shares)
    if words is None:  # 9 evenings suffice for alpha 0.1, and for no less.
        assert "group morning 15 of 24 rollouts; weighs nothing" in said(*sources)
        text = said(*sources, "--alpha", 0.09, code=1)
        assert "record more successful ones, above all of evening (9 rollouts" in text
    else:
        assert words in said(*sources, code=code)
