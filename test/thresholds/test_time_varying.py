# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds that follow the course of a task: rollouts end, bands stay wide enough."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.thresholds.conformal import CalibrationError, Scale, combine
from failure_monitor.thresholds.paired_threshold import PairedThreshold
from failure_monitor.thresholds.time_varying import MIN_SHARE, NEIGHBOURS, TimeVaryingScale


def rising(seed: int, length: int) -> np.ndarray:
    """One score that rises with time, and scatters the more the later."""
    rng = np.random.default_rng(seed)
    time = np.arange(length)
    return (1 + 0.5 * time + 0.1 * (1 + time) * rng.normal(size=length))[:, np.newaxis]


def test_the_scale_follows_the_course_of_the_scores():
    scale = TimeVaryingScale.fit([rising(seed, 30) for seed in range(40)])
    np.testing.assert_allclose(scale.centre[5:25, 0], 1 + 0.5 * np.arange(5, 25), rtol=0.15)
    assert scale.spread[25, 0] > 2 * scale.spread[5, 0]


def test_a_decision_is_pooled_with_its_neighbours():
    series = [np.arange(20.0)[:, np.newaxis] + seed for seed in (0, 100)]
    around = np.concatenate([values[10 - NEIGHBOURS : 10 + NEIGHBOURS + 1] for values in series])
    assert TimeVaryingScale.fit(series).centre[10] == np.median(around)


def test_one_rollout_that_outlasts_the_others_does_not_narrow_the_band():
    series = [rising(seed, 20) for seed in range(19)]
    flat = np.full((60, 1), 7.0)
    scale = TimeVaryingScale.fit([*series, flat])
    assert len(scale.centre) == 60
    assert scale.spread[-1] > 0.8 * MIN_SHARE * scale.spread[:20].mean()


def test_past_the_longest_rollout_the_last_values_hold():
    scale = TimeVaryingScale.fit([rising(seed, length) for seed, length in enumerate((8, 12))])
    last, later = scale.at(11), scale.at(500)
    assert (last.centre, last.spread) == (later.centre, later.spread)
    assert scale.covers(11)
    assert not scale.covers(12)


@given(lengths=st.lists(st.integers(1, 25), min_size=1, max_size=8), seed=st.integers(0, 100))
def test_every_decision_has_a_finite_centre_and_a_positive_spread(lengths, seed):
    series = [rising(seed + index, length) for index, length in enumerate(lengths)]
    scale = TimeVaryingScale.fit(series)
    assert scale.centre.shape == scale.spread.shape == (max(lengths), 1)
    assert np.isfinite(scale.centre).all()
    assert (scale.spread > 0).all()


def test_the_order_of_rollouts_changes_nothing():
    series = [rising(seed, 5 + 3 * seed) for seed in range(6)]
    one, other = TimeVaryingScale.fit(series), TimeVaryingScale.fit(series[::-1])
    np.testing.assert_array_equal(one.centre, other.centre)
    np.testing.assert_array_equal(one.spread, other.spread)


def test_a_score_that_is_undefined_at_first_has_a_scale_there_all_the_same():
    series = [np.vstack([[np.nan]] * 4 + [rising(seed, 10)]) for seed in range(5)]
    assert np.isfinite(TimeVaryingScale.fit(series).centre).all()


def test_a_score_that_is_nowhere_defined_is_refused():
    with pytest.raises(CalibrationError, match="undefined at every decision"):
        TimeVaryingScale.fit([np.array([[1.0, np.nan], [2.0, np.nan]])])


def test_the_sign_is_score_minus_centre():
    scale = TimeVaryingScale.fit([rising(seed, 10) for seed in range(20)]).at(5)
    assert scale(scale.centre + scale.spread) == pytest.approx(1)
    assert scale(scale.centre - scale.spread) == pytest.approx(-1)


@pytest.mark.parametrize("rule", ["all", "any", "mean"])
def test_one_decision_at_a_time_and_all_at_once_give_the_same_level(rule):
    series = [np.hstack([rising(seed, 15), rising(seed + 50, 15)]) for seed in range(10)]
    threshold = PairedThreshold.of_one_limit(rule, TimeVaryingScale.fit(series), limit=1.5)
    rollout = np.hstack([rising(200, 20), rising(300, 20)])[:, np.newaxis]
    rollout[0, 0, 1] = np.nan
    at_once = threshold.at(np.arange(20)).level(rollout)
    one_by_one = [threshold.at(index).level(scores) for index, scores in enumerate(rollout)]
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-12)
    over = combine(rule, threshold.scale.at(np.arange(20))(rollout)) > 1.5
    np.testing.assert_array_equal(at_once > 1, over[:, 0])


def test_a_constant_scale_is_the_same_at_every_decision():
    scale = Scale.fit([rising(seed, 10) for seed in range(5)])
    assert scale.at(3) is scale
    assert scale.covers(10_000)
