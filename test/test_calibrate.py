# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Successful rollouts in, a bundle out; or one sentence that says why not."""

import dataclasses

import numpy as np
import pytest
from synthetic import synthetic_rollout

from failure_monitor import calibrate as calibration
from failure_monitor.calibrate import CalibrationSettings, calibrate, choose
from failure_monitor.conformal import CalibrationError
from failure_monitor.decision import InvalidDecisionError
from failure_monitor.errors import UsageError
from failure_monitor.scores.score import ScoreUndefinedError

QUICK = CalibrationSettings(scores=("ace",), rule="all", folds=3, jobs=1)


def test_no_rollout_is_scored_by_what_was_fitted_on_it(rollouts, policy, monkeypatch):
    fitted_on = []
    fit = calibration._fit

    def spy(fitting, *rest):
        fitted_on.append({rollout.name for rollout in fitting})
        return fit(fitting, *rest)

    monkeypatch.setattr(calibration, "_fit", spy)
    calibrate(rollouts, policy, QUICK)
    everything = {rollout.name for rollout in rollouts}
    *folds, last = fitted_on
    held_out = [everything - names for names in folds]
    assert last == everything
    assert sorted(name for names in held_out for name in names) == sorted(everything)


def test_the_combined_false_alarm_rate_keeps_the_promise(policy):
    # 60 calibrations on fresh rollouts, each tested on 20 fresh rollouts.
    rates = []
    for repetition in range(60):
        seeds = range(1000 * repetition + 100, 1000 * repetition + 139)
        fresh = [synthetic_rollout(seed) for seed in seeds]
        bundle = calibrate(fresh[:19], policy, QUICK)
        rates.append(np.mean([bundle.levels(rollout).max() > 1 for rollout in fresh[19:]]))
    standard_error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= 0.1 + 2 * standard_error
    assert np.mean(rates) > 0.02


def test_more_processes_give_the_same_bundle(rollouts, policy):
    settings = CalibrationSettings(folds=2, rule="mean")
    one, two = (
        calibrate(rollouts, policy, dataclasses.replace(settings, jobs=jobs)) for jobs in (1, 2)
    )
    assert one.description.limit == two.description.limit
    assert one.scores[0].state().models == two.scores[0].state().models


def test_the_bundle_says_what_it_promises_and_on_what(bundle, rollouts):
    promise = bundle.description.promise
    assert (promise.alpha, promise.rollouts, promise.rank) == (0.1, 12, 12)
    low, high = promise.false_alarm_interval_90
    assert low < 1 / 13 < high
    assert [rollout.name for rollout in bundle.calibration] == [r.name for r in rollouts]


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
