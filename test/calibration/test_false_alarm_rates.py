# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the coverage benchmark measures is what `calibrate` promises."""

import dataclasses

import numpy as np
import pytest
from benchmark_parts.exchangeable_rollouts import Drawn
from benchmark_parts.false_alarm_rates import (
    ALPHAS,
    SETTINGS,
    WRONG,
    MeasuredRule,
    ScoredSplit,
    cross_fitted_rates,
    measured_rules,
    rates_fitted_apart,
)
from benchmark_parts.synthetic_task import SyntheticTask

from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.thresholds.conformal import CalibrationError

pytestmark = pytest.mark.slow

ALPHA = 0.2
TASK = SyntheticTask.of_size(embedding=6, samples=8, horizon=4, actions=2, decisions=12)
SOURCE = Drawn(TASK)
RULES = [rule for rule in measured_rules() if rule.title != WRONG and not rule.is_trained]
SOME_RULES = [rule for rule in RULES if len(rule.scores) > 1 or rule.scores[0] in ("stac", "knn")]


def rate_by_calibrate(rule: MeasuredRule, rollouts, tests, fit_rollouts=()) -> float:
    settings = dataclasses.replace(
        SETTINGS, scores=rule.scores, rule=rule.rule, threshold=rule.threshold, alpha=ALPHA, jobs=1
    )
    try:
        bundle = calibrate(rollouts, TASK.policy, settings, fit_rollouts=fit_rollouts)
    except CalibrationError:
        return np.nan
    return float(np.mean([bundle.levels(test).max() > 1 for test in tests]))


@pytest.mark.parametrize("rule", SOME_RULES, ids=lambda rule: rule.title)
def test_cross_fitted_rates_are_those_of_calibrate(rule):
    rollouts, tests = SOURCE.split(20, 0)
    rates = cross_fitted_rates(rollouts, tests, TASK.policy, [rule])
    expected = rate_by_calibrate(rule, rollouts, tests)
    np.testing.assert_equal(rates[0, ALPHAS.index(ALPHA)], expected)


@pytest.mark.parametrize("rule", SOME_RULES, ids=lambda rule: rule.title)
def test_rates_fitted_apart_are_those_of_calibrate(rule):
    teachers, others = SOURCE.fitting_and_others(0)
    split = ScoredSplit.of(teachers, others, TASK.policy, [rule])
    rates = rates_fitted_apart(split, np.arange(20), np.arange(20, 50), [rule])
    expected = rate_by_calibrate(rule, others[:20], others[20:50], teachers)
    np.testing.assert_equal(rates[0, ALPHAS.index(ALPHA)], expected)


def test_what_cannot_be_promised_has_no_rate():
    rollouts, tests = SOURCE.split(10, 0)
    rates = cross_fitted_rates(rollouts, tests, TASK.policy, SOME_RULES[:1])
    assert np.isnan(rates[0]).tolist() == [True, False, False]


def test_what_is_calibrated_on_its_fitting_rollouts_breaks_the_promise():
    wrong = [rule for rule in measured_rules() if rule.title == WRONG]
    rates = [
        cross_fitted_rates(*SOURCE.split(20, index), TASK.policy, wrong)[0] for index in range(3)
    ]
    assert np.mean(rates, axis=0)[1] > 3 * ALPHAS[1]


def test_titles_tell_rules_apart():
    titles = [rule.title for rule in measured_rules()]
    assert len(titles) == len(set(titles))
