# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The promise: ranks, intervals, windows, and rules as one number."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from failure_monitor.thresholds.conformal import (
    CEILING,
    CalibrationError,
    Rule,
    Scale,
    combine,
    false_alarm_interval,
    finite_sample_quantile,
    rank,
    smallest_alpha,
    windowed_mean,
)
from failure_monitor.thresholds.paired_threshold import PairedThreshold, paired_threshold

finite = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("n", "alpha", "expected"),
    [(9, 0.1, 9), (10, 0.1, 10), (19, 0.05, 19), (4, 0.2, 4), (99, 0.01, 99), (50, 0.1, 46)],
)
def test_the_rank_is_that_of_the_textbook(n, alpha, expected):
    assert rank(n, alpha) == expected


@pytest.mark.parametrize(("n", "alpha"), [(8, 0.1), (3, 0.2), (18, 0.05), (98, 0.01), (1, 0.4)])
def test_one_rollout_too_few_is_refused_with_what_is_possible(n, alpha):
    with pytest.raises(CalibrationError, match=rf"{n} calibration rollouts .* record {n + 1} "):
        rank(n, alpha)
    assert rank(n, smallest_alpha(n)) == n


def test_the_smallest_of_all_rates_is_refused_as_others_are() -> None:
    with pytest.raises(CalibrationError, match=r"of 4\.94066e-324: record"):
        rank(30, 5e-324)


@pytest.mark.parametrize("n", [1, 6, 20, 99, 150, 1000])
def test_the_alpha_that_is_advised_can_be_promised(n):
    with pytest.raises(CalibrationError) as error:
        rank(n, 1e-5)
    advised = re.search(r"ask for (\S+) or more", str(error.value))
    assert advised is not None
    assert rank(n, float(advised[1])) <= n


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_alpha_is_a_probability(alpha):
    with pytest.raises(CalibrationError, match="alpha is a probability"):
        rank(10, alpha)


def test_the_quantile_agrees_with_an_independent_implementation():
    crepes = pytest.importorskip("crepes")
    residuals = np.random.default_rng(0).exponential(size=37)
    for alpha in (0.05, 0.1, 0.25, 0.5):
        regressor = crepes.ConformalRegressor().fit(residuals)
        (low, high) = regressor.predict_int(np.zeros(1), confidence=1 - alpha)[0]
        assert high == pytest.approx(finite_sample_quantile(residuals, alpha))
        assert low == pytest.approx(-high)


@given(
    values=arrays(np.float64, st.integers(20, 40), elements=finite),
    alphas=st.tuples(st.floats(0.06, 0.9), st.floats(0.06, 0.9)),
)
def test_a_smaller_alpha_never_lowers_the_threshold(values, alphas):
    small, large = sorted(alphas)
    assert finite_sample_quantile(values, small) >= finite_sample_quantile(values, large)


@given(values=arrays(np.float64, 20, elements=finite), seed=st.integers(0, 100))
def test_the_order_of_rollouts_changes_nothing(values, seed):
    shuffled = np.random.default_rng(seed).permutation(values)
    assert finite_sample_quantile(shuffled, 0.1) == finite_sample_quantile(values, 0.1)


def test_the_promised_rate_holds_over_repeated_calibrations():
    rng = np.random.default_rng(1)
    n, alpha, repetitions = 19, 0.1, 4000
    draws = rng.normal(size=(repetitions, n + 1))
    alarms = [new > finite_sample_quantile(old, alpha) for *old, new in draws]
    standard_error = math.sqrt(alpha * (1 - alpha) / repetitions)
    assert np.mean(alarms) == pytest.approx(alpha, abs=3 * standard_error)


def test_the_interval_covers_the_true_rate_of_simulated_calibrations():
    rng = np.random.default_rng(2)
    low, high = false_alarm_interval(19, 0.1)
    thresholds = [finite_sample_quantile(rng.uniform(size=19), 0.1) for _ in range(4000)]
    rates = 1 - np.array(thresholds)
    assert np.mean((low <= rates) & (rates <= high)) == pytest.approx(0.9, abs=0.02)


@given(values=arrays(np.float64, st.integers(1, 30), elements=finite), window=st.integers(1, 40))
def test_a_window_is_the_mean_of_what_there_is(values, window):
    expected = [values[max(0, t - window + 1) : t + 1].mean() for t in range(len(values))]
    np.testing.assert_allclose(windowed_mean(values, window), expected, rtol=1e-9, atol=1e-6)


def test_rules_combine_as_they_are_named():
    scaled = np.array([[1.0, 3.0], [5.0, 4.0]])
    assert combine("all", scaled).tolist() == [1.0, 4.0]
    assert combine("any", scaled).tolist() == [3.0, 5.0]
    assert combine("mean", scaled).tolist() == [2.0, 4.5]


def test_no_score_outvotes_all_others_in_a_mean():
    assert combine("mean", np.array([1e9, -1.0, -1.0])) == (CEILING - 2) / 3
    assert combine("any", np.array([1e9, -1.0, -1.0])) == 1e9
    assert combine("mean", np.array([1e9])) == 1e9


def test_a_mean_that_could_never_reach_its_limit_is_refused():
    scale = Scale(centre=np.array([1.0, 1.0]), spread=np.array([1.0, 1.0]))
    maxima = np.array([0.5] * 8 + [CEILING])
    with pytest.raises(CalibrationError, match="out of reach"):
        calibrated("mean", scale, maxima)
    assert calibrated("any", scale, maxima).limit == CEILING


def calibrated(rule: Rule, scale: Scale, maxima: NDArray[np.float64]) -> PairedThreshold:
    """The threshold of one model."""
    folds = np.zeros(len(maxima), dtype=np.int64)
    return paired_threshold(rule, [scale], maxima, folds, alpha=0.1)


def test_one_score_is_normalised_by_its_threshold():
    scale = Scale(np.array([2.0]), np.array([0.5]))
    threshold = PairedThreshold.of_one_limit("all", scale, limit=4.0)
    assert threshold.thresholds.tolist() == [4.0]
    windowed = np.array([[[1.0]], [[4.0]], [[6.0]]])
    np.testing.assert_allclose(threshold.level(windowed), [0.25, 1, 1.5])


@given(
    windowed=arrays(np.float64, (5, 2), elements=st.floats(0, 100)),
    rule=st.sampled_from(["all", "any"]),
)
def test_the_level_exceeds_1_just_when_the_rule_holds(windowed, rule):
    scale = Scale(np.array([1.0, 10.0]), np.array([0.5, 20.0]))
    threshold = PairedThreshold.of_one_limit(rule, scale, limit=1.5)
    over = windowed > threshold.thresholds
    holds = over.all(axis=1) if rule == "all" else over.any(axis=1)
    near = np.isclose(windowed, threshold.thresholds).any(axis=1)
    assert ((threshold.level(windowed[:, np.newaxis]) > 1) == holds)[~near].all()


def test_scores_that_are_never_raised_together_leave_no_room_for_the_rule_all():
    scale = Scale(np.array([1.0, 1.0]), np.array([0.1, 0.1]))
    with pytest.raises(CalibrationError, match="never raised together"):
        calibrated("all", scale, np.full(20, -50.0))


def test_a_constant_score_has_a_scale_all_the_same():
    scale = Scale.fit([np.full((10, 1), 3.0)])
    assert scale.spread[0] > 0
    assert np.isfinite(scale(np.array([[3.0], [4.0]]))).all()


@given(values=arrays(np.float64, 6, elements=finite), undefined=st.integers(0, 6))
def test_what_is_undefined_is_no_part_of_a_window(values, undefined):
    values[:undefined] = np.nan
    means = windowed_mean(values, 3)
    assert np.isnan(means[:undefined]).all()
    np.testing.assert_array_equal(means[undefined:], windowed_mean(values[undefined:], 3))


def test_an_undefined_score_has_no_say():
    scaled = np.array([[1.0, 3.0, np.nan], [np.nan, np.nan, np.nan]])
    assert combine("any", scaled).tolist() == [3.0, -math.inf]
    assert combine("mean", scaled).tolist() == [2.0, -math.inf]
    assert combine("all", scaled).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("rule", ["all", "any", "mean"])
def test_the_level_is_over_exactly_where_the_rule_holds(rule):
    scale = Scale(centre=np.array([1.0, 4.0]), spread=np.array([1.0, 2.0]))
    threshold = PairedThreshold.of_one_limit(rule, scale, 0.5)
    values = [0.0, 1.0, 2.0, 6.0, np.nan]
    windowed = np.array([[one, other] for one in values for other in values])
    level = threshold.level(windowed[:, np.newaxis])
    assert np.isfinite(level).all()
    np.testing.assert_array_equal(level > 1, combine(rule, scale(windowed)) > 0.5)
    assert threshold.level(np.array([[0.0, np.nan]])) == 0
    assert threshold.level(np.array([[np.nan, np.nan]])) == 0


def test_a_score_that_is_nowhere_defined_is_refused():
    with pytest.raises(CalibrationError, match="undefined at every decision"):
        Scale.fit([np.array([[1.0, np.nan], [2.0, np.nan]])])
