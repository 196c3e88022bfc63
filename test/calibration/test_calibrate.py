# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Successful rollouts in, a bundle out; or one sentence that says why not."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import save
from failure_monitor.calibration import cross_fitting
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.chosen_rollouts import choose
from failure_monitor.calibration.cross_fitting import deal, order_of_content
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import InvalidDecisionError, Rollout
from failure_monitor.errors import UsageError
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.thresholds.conformal import CalibrationError
from failure_monitor.thresholds.time_varying import TimeVaryingScale

QUICK = CalibrationSettings(scores=("ace",), rule="all", folds=3, jobs=1)


@pytest.fixture
def fitted_on(monkeypatch):
    """The names of the rollouts of every fit, in order."""
    names = []
    fit = cross_fitting.fit_score

    def spy(name, rollouts, *rest):
        names.append({rollout.name for rollout in rollouts})
        return fit(name, rollouts, *rest)

    monkeypatch.setattr(cross_fitting, "fit_score", spy)
    return names


def rollout_of_any_length(seed: int) -> Rollout:
    return synthetic_rollout(seed, decisions=int(np.random.default_rng(seed).integers(6, 25)))


def false_alarm_rates(
    calibration: Callable[[list[Rollout]], Bundle],
    rollouts: int,
    make: Callable[[int], Rollout] = synthetic_rollout,
) -> list[float]:
    """Of 60 calibrations on fresh rollouts, each on 20 more fresh rollouts."""
    rates = []
    for repetition in range(60):
        seeds = range(1000 * repetition + 100, 1000 * repetition + 120 + rollouts)
        fresh = [make(seed) for seed in seeds]
        bundle = calibration(fresh[:rollouts])
        rates.append(np.mean([bundle.levels(rollout).max() > 1 for rollout in fresh[rollouts:]]))
    return rates


def assert_promise_holds(rates: list[float], alpha: float = 0.1) -> None:
    standard_error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= alpha + 2 * standard_error
    assert np.mean(rates) > alpha / 5


@pytest.mark.parametrize(("rollouts", "folds"), [(1, 2), (4, 4), (10, 10), (200, 10)])
def test_without_a_word_on_folds_rollouts_are_dealt_into_ten_or_each_alone(rollouts, folds):
    assert CalibrationSettings().folds_of(rollouts) == folds
    assert CalibrationSettings(folds=3).folds_of(rollouts) == 3


def test_no_rollout_is_scored_by_what_was_fitted_on_it(rollouts, policy, fitted_on):
    bundle = calibrate(rollouts, policy, dataclasses.replace(QUICK, scores=("ace",)))
    everything = {rollout.name for rollout in rollouts}
    held_out = [everything - names for names in fitted_on]
    assert sorted(name for names in held_out for name in names) == sorted(everything)
    for section in bundle.calibration:
        assert section.name in held_out[section.fold]


def test_the_combined_false_alarm_rate_keeps_the_promise(policy):
    assert_promise_holds(false_alarm_rates(lambda fresh: calibrate(fresh, policy, QUICK), 19))


def test_calibration_rollouts_teach_nothing_where_others_are_given_to_fit_on(
    rollouts, policy, fitted_on
):
    settings = dataclasses.replace(QUICK, alpha=0.2)
    bundle = calibrate(rollouts[6:], policy, settings, fit_rollouts=rollouts[:6])
    taught = {rollout.name for rollout in rollouts[:6]}
    assert all(names <= taught for names in fitted_on)
    assert fitted_on[-1] == taught
    assert [rollout.sha256 for rollout in bundle.fit] == [r.sha256 for r in rollouts[:6]]
    assert [rollout.sha256 for rollout in bundle.calibration] == [r.sha256 for r in rollouts[6:]]


def test_the_scale_does_not_depend_on_calibration_rollouts_where_others_are_fitted_on(
    rollouts, policy
):
    settings = dataclasses.replace(QUICK, alpha=0.4)
    one, other = (
        calibrate(part, policy, settings, fit_rollouts=rollouts[:6]).scale
        for part in (rollouts[6:9], rollouts[9:])
    )
    np.testing.assert_array_equal((one.centre, one.spread), (other.centre, other.spread))


def test_the_promise_holds_with_rollouts_to_fit_on(policy):
    def calibration(fresh):
        return calibrate(fresh[6:], policy, QUICK, fit_rollouts=fresh[:6])

    assert_promise_holds(false_alarm_rates(calibration, 25))


def test_the_promise_holds_however_unlike_the_rollouts_to_fit_on_are(policy):
    def calibration(fresh):
        unlike = [dataclasses.replace(rollout, chunks=2 * rollout.chunks) for rollout in fresh[:6]]
        return calibrate(fresh[6:], policy, QUICK, fit_rollouts=unlike)

    assert_promise_holds(false_alarm_rates(calibration, 25))


@pytest.mark.slow
@pytest.mark.parametrize("fitting", [0, 8])
def test_the_promise_holds_for_time_varying_thresholds_and_rollouts_of_any_length(policy, fitting):
    settings = dataclasses.replace(QUICK, threshold="time-varying", window=2)

    def calibration(fresh):
        return calibrate(fresh[fitting:], policy, settings, fit_rollouts=fresh[:fitting])

    assert_promise_holds(false_alarm_rates(calibration, 19 + fitting, rollout_of_any_length))


def test_no_rollout_is_brought_to_scale_by_itself(rollouts, policy, monkeypatch):
    fitted_on = []
    fit = TimeVaryingScale.fit

    def spy(series):
        fitted_on.append({scores.tobytes() for scores in series})
        return fit(series)

    monkeypatch.setattr(TimeVaryingScale, "fit", spy)
    calibrate(rollouts, policy, dataclasses.replace(QUICK, threshold="time-varying"))
    everything = set().union(*fitted_on)
    assert [len(everything - others) for others in fitted_on] == [4, 4, 4]
    assert len(set().union(*(everything - others for others in fitted_on))) == 12


def test_a_rollout_to_calibrate_and_to_fit_on_is_refused_by_name(rollouts, policy):
    with pytest.raises(CalibrationError, match=r"2 of .* fit on \(rollout 3, rollout 4\)"):
        calibrate(rollouts[3:], policy, QUICK, fit_rollouts=rollouts[:5])


def steady_and_shaky(seed: int) -> Rollout:
    """Of one of two tasks; in one of them the samples scatter more."""
    rollout = synthetic_rollout(seed)
    if seed % 2:
        return dataclasses.replace(rollout, task="steady")
    centre = rollout.chunks.mean(axis=1, keepdims=True)
    return dataclasses.replace(
        rollout, task="shaky", chunks=centre + 1.2 * (rollout.chunks - centre)
    )


@pytest.mark.slow
@pytest.mark.parametrize("threshold", ["constant", "time-varying"])
def test_the_promise_holds_in_each_of_several_tasks(policy, threshold):
    settings = dataclasses.replace(QUICK, threshold=threshold)
    rates = {"steady": [], "shaky": []}
    for repetition in range(60):
        seeds = range(1000 * repetition + 100, 1000 * repetition + 178)
        fresh = [steady_and_shaky(seed) for seed in seeds]
        bundle = calibrate(fresh[:38], policy, settings)
        for task, of_task in rates.items():
            alarms = [bundle.levels(r).max() > 1 for r in fresh[38:] if r.task == task]
            of_task.append(np.mean(alarms))
    for of_task in rates.values():
        assert_promise_holds(of_task)


def test_every_task_has_a_limit_and_a_rank_of_its_own(policy):
    fresh = [steady_and_shaky(seed) for seed in range(30)]
    bundle = calibrate([*fresh, synthetic_of_task(99, "steady")], policy, QUICK)
    steady, shaky = (bundle.promise(task) for task in ("steady", "shaky"))
    assert (steady.rollouts, steady.rank, shaky.rollouts, shaky.rank) == (16, 16, 15, 15)
    assert steady.limit < shaky.limit
    assert bundle.threshold("steady").thresholds == pytest.approx(steady.thresholds["ace"])
    assert {rollout.task for rollout in bundle.calibration} == {"steady", "shaky"}


def synthetic_of_task(seed: int, task: str) -> Rollout:
    return dataclasses.replace(synthetic_rollout(seed), task=task)


def test_a_task_with_too_few_rollouts_is_refused_by_name_with_the_number_needed(rollouts, policy):
    few = [synthetic_of_task(seed, "stack") for seed in range(20, 24)]
    many = [dataclasses.replace(rollout, task="pick") for rollout in rollouts]
    with pytest.raises(CalibrationError, match=r"task 'stack': 4 .* record 9 successful"):
        calibrate([*many, *few], policy, QUICK)


def test_rollouts_without_a_task_among_others_are_refused_by_name(rollouts, policy):
    mixed = [dataclasses.replace(rollout, task="pick") for rollout in rollouts[1:]]
    with pytest.raises(CalibrationError, match=r"1 of .* name no task \(rollout 0\), .* of pick"):
        calibrate([rollouts[0], *mixed], policy, QUICK)


def test_every_task_is_dealt_evenly_into_the_folds():
    tasks = ["pick"] * 10 + ["place"] * 7
    folds = deal(tasks, 5, seed=3)
    assert np.bincount(folds[:10]).tolist() == [2] * 5
    assert sorted(np.bincount(folds[10:])) == [1, 1, 1, 2, 2]


def test_another_seed_deals_other_folds_and_the_same_seed_the_same():
    tasks = ["pick"] * 10 + ["place"] * 7
    dealt = [deal(tasks, 5, seed).tolist() for seed in range(20)]
    assert dealt == [deal(tasks, 5, seed).tolist() for seed in range(20)]
    assert len(set(map(tuple, dealt))) == 20


@pytest.mark.parametrize("seed", [0, 7])
def test_the_seed_of_the_settings_deals_the_folds(seed, rollouts, policy, fitted_on):
    made = calibrate(rollouts, policy, dataclasses.replace(QUICK, scores=("ace",), seed=seed))
    assert made.description.seed == seed
    names = np.array([rollout.name for rollout in rollouts])[order_of_content(rollouts)]
    folds = deal([""] * len(rollouts), QUICK.folds, seed)
    assert fitted_on == [set(names[folds != fold].tolist()) for fold in range(QUICK.folds)]


def test_another_seed_gives_another_threshold(rollouts, policy):
    # The score ACE draws nothing at random: only the folds can differ.
    one, other = (
        calibrate(rollouts, policy, dataclasses.replace(QUICK, seed=seed)) for seed in (0, 7)
    )
    assert one.promise().limit != other.promise().limit


def test_the_same_seed_gives_the_same_bundle_but_for_its_date(rollouts, policy, tmp_path):
    settings = dataclasses.replace(QUICK, scores=("ace", "pca_kmeans"), rule="mean", seed=7)
    contents = []
    for name in ("one", "two"):
        made = calibrate(rollouts, policy, settings)
        undated = dataclasses.replace(made.description, created="")
        save(dataclasses.replace(made, description=undated), tmp_path / name)
        contents.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert len(contents[0]) > 1
    assert contents[0] == contents[1]


def test_fewer_rollouts_to_fit_on_than_folds_are_refused(rollouts, policy):
    with pytest.raises(CalibrationError, match="2 rollouts to fit on cannot be dealt into 3"):
        calibrate(rollouts[2:], policy, QUICK, fit_rollouts=rollouts[:2])


@pytest.mark.slow
def test_more_processes_give_the_same_bundle(rollouts, policy):
    settings = CalibrationSettings(scores=("rnd_oe", "ace"), folds=2, rule="mean")
    one, two = (
        calibrate(rollouts, policy, dataclasses.replace(settings, jobs=jobs)) for jobs in (1, 2)
    )
    assert one.description.promises == two.description.promises
    assert one.scores[0].state().models == two.scores[0].state().models


def test_the_bundle_says_what_it_promises_and_on_what(bundle, rollouts):
    promise = bundle.promise()
    assert (bundle.alpha, promise.rollouts, promise.rank) == (0.1, 12, 12)
    low, high = promise.false_alarm_interval_90
    assert low < 1 / 13 < high
    assert [rollout.name for rollout in bundle.calibration] == [r.name for r in rollouts]


@pytest.mark.parametrize("threshold", ["constant", "time-varying"])
@pytest.mark.parametrize("fit", [(), range(40, 46)], ids=["cross-fitted", "fitted on others"])
def test_the_bundle_keeps_the_largest_level_of_each_calibration_rollout(policy, threshold, fit):
    rollouts = [
        dataclasses.replace(synthetic_rollout(seed), task="long" if seed % 2 else "short")
        for seed in range(24)
    ]
    settings = CalibrationSettings(
        scores=("rnd_oe", "stac_single", "ace"), rule="any", alpha=0.2, folds=3, jobs=1
    )
    bundle = calibrate(
        rollouts,
        dataclasses.replace(policy, executed_actions=2),
        dataclasses.replace(settings, threshold=threshold),
        fit_rollouts=[synthetic_rollout(seed) for seed in fit],
    )
    for promise in bundle.description.promises:
        levels = [each.max_level for each in bundle.calibration if each.task == promise.task]
        # One of them sets the limit, and is at it.
        assert sorted(levels)[promise.rank - 1] == 1.0
        assert sum(level > 1.0 for level in levels) == promise.rollouts - promise.rank
    for each in bundle.calibration:
        # The rule is any of the scores.
        assert (max(each.max_normalised_scores.values()) > 1.0) == (each.max_level > 1.0)
    assert not any(each.max_level for each in bundle.fit)


def test_too_few_rollouts_for_alpha_are_refused_with_the_number_needed(rollouts, policy):
    with pytest.raises(CalibrationError, match="record 19 successful rollouts"):
        calibrate(rollouts, policy, dataclasses.replace(QUICK, alpha=0.05))


def test_fewer_rollouts_than_folds_are_refused(rollouts, policy):
    settings = dataclasses.replace(QUICK, folds=5, alpha=0.4)
    with pytest.raises(CalibrationError, match="4 rollouts cannot be dealt into 5 folds"):
        calibrate(rollouts[:4], policy, settings)


def test_a_failed_rollout_is_refused_by_name(rollouts, policy):
    failed = dataclasses.replace(rollouts[3], success=False)
    with pytest.raises(CalibrationError, match=r"1 of the rollouts failed \(rollout 3\)"):
        calibrate([*rollouts, failed], policy, QUICK)


def test_nan_is_refused_with_rollout_and_decision(rollouts, policy):
    embeddings = rollouts[5].embeddings.copy()
    embeddings[7, 2] = np.nan
    broken = dataclasses.replace(rollouts[5], embeddings=embeddings)
    with pytest.raises(InvalidDecisionError, match=r"rollout 5, decision 7: 1 of 6 .* NaN"):
        calibrate([*rollouts[:5], broken, *rollouts[6:]], policy, QUICK)


def test_a_rollout_without_decisions_is_refused(rollouts, policy):
    empty = dataclasses.replace(
        rollouts[0],
        stamps=rollouts[0].stamps[:0],
        embeddings=rollouts[0].embeddings[:0],
        chunks=rollouts[0].chunks[:0],
    )
    with pytest.raises(InvalidDecisionError, match="rollout 0: the rollout has no decision"):
        calibrate([empty, *rollouts[1:]], policy, QUICK)


def test_a_deterministic_policy_is_refused(rollouts, policy):
    same = [
        dataclasses.replace(r, chunks=np.repeat(r.chunks[:, :1], policy.samples, axis=1))
        for r in rollouts
    ]
    with pytest.raises(ScoreUndefinedError, match="deterministic"):
        calibrate(same, policy, QUICK)


def test_an_unknown_score_is_refused_with_those_there_are(rollouts, policy):
    with pytest.raises(UsageError, match=r"no score 'entropy': the scores are ace, .*rnd_oe"):
        calibrate(rollouts, policy, dataclasses.replace(QUICK, scores=("entropy",)))


def test_what_a_source_keeps_for_tests_does_not_calibrate(rollouts):
    apart = dataclasses.replace(rollouts[0], calibration=False)
    failed = dataclasses.replace(rollouts[1], calibration=True, success=False)
    unlabelled = dataclasses.replace(rollouts[2], success=None)
    chosen, remarks = choose([apart, failed, unlabelled, rollouts[3]])
    assert chosen == [unlabelled, rollouts[3]]
    assert [remark[0] for remark in remarks] == ["1", "1", "1"]


def test_what_is_known_to_have_failed_does_not_calibrate(rollouts):
    failed = dataclasses.replace(rollouts[1], success=False)
    chosen, remarks = choose([rollouts[0], failed, rollouts[2]])
    assert chosen == [rollouts[0], rollouts[2]]
    assert remarks == [
        f"1 of 3 rollouts failed, by what is known of them, and are left out ({failed.name})"
    ]


def test_the_period_of_decisions_is_the_median_over_all_rollouts():
    slow = [
        dataclasses.replace(rollout, stamps=2.0 * rollout.stamps)
        for rollout in map(synthetic_rollout, range(9, 14))
    ]
    made = calibrate([synthetic_rollout(seed) for seed in range(9)] + slow, POLICY, QUICK)
    assert made.description.decision_period == pytest.approx(0.1)
    assert made.description.longest_decision_gap == pytest.approx(0.2)


def test_a_pause_within_a_rollout_is_no_example_of_the_time_between_decisions():
    rollouts = [synthetic_rollout(seed) for seed in range(9)]
    stamps = rollouts[0].stamps + 30.0 * (np.arange(len(rollouts[0])) > 4)
    rollouts[0] = dataclasses.replace(rollouts[0], stamps=stamps)
    made = calibrate(rollouts, POLICY, QUICK)
    assert made.description.longest_decision_gap == pytest.approx(0.1)


def test_stamps_that_are_all_the_same_tell_no_period():
    still = [
        dataclasses.replace(rollout, stamps=np.zeros(len(rollout)))
        for rollout in map(synthetic_rollout, range(9))
    ]
    assert calibrate(still, POLICY, QUICK).description.decision_period is None
