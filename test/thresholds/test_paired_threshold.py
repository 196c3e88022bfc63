# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Laws of the threshold by pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.thresholds.conformal import (
    CEILING,
    RULES,
    CalibrationError,
    Rule,
    Scale,
    combine,
    finite_sample_quantile,
    rank,
)
from failure_monitor.thresholds.paired_threshold import (
    PairedThreshold,
    effective_number,
    paired_threshold,
)
from failure_monitor.thresholds.time_varying import TimeVaryingScale

rules = st.sampled_from(RULES)
seeds = st.integers(0, 2**32 - 1)


def some_threshold(
    rule: Rule, seed: int, *, folds: int = 3, ties: bool = False
) -> tuple[PairedThreshold, np.random.Generator]:
    """A threshold of 12 rollouts and 2 scores, scales that differ, and what drew it."""
    random = np.random.default_rng(seed)
    scales = [Scale(random.uniform(1, 3, 2), random.uniform(0.2, 1, 2)) for _ in range(folds)]
    maxima = random.normal(1.0, 0.5, 12)
    if ties:
        maxima = np.round(maxima)
    return paired_threshold(rule, scales, maxima, np.arange(12) % folds, alpha=0.2), random


def some_scores(random: np.random.Generator, folds: int = 3) -> np.ndarray:
    """Windowed scores of 40 decisions, of which each score is now and then undefined."""
    windowed = random.uniform(0, 6, (40, folds, 2))
    windowed[random.random(40) < 0.1, :, 0] = np.nan
    windowed[random.random(40) < 0.1, :, 1] = np.nan
    return windowed


@given(rule=rules, seed=seeds, ties=st.booleans())
def test_the_level_exceeds_1_just_where_k_calibration_rollouts_lie_below(rule, seed, ties):
    threshold, random = some_threshold(rule, seed, ties=ties)
    windowed = some_scores(random)
    numbers = combine(rule, threshold.scale(windowed))[:, threshold.folds]
    below = (numbers > threshold.limits).sum(axis=1)
    levels = threshold.level(windowed)
    assert np.isfinite(levels).all()
    np.testing.assert_array_equal(levels > 1, below >= threshold.needed)


@given(rule=rules, seed=seeds)
def test_one_decision_at_a_time_gives_the_same_as_all_at_once(rule, seed):
    threshold, random = some_threshold(rule, seed)
    windowed = some_scores(random)
    compared = [threshold.compare(each) for each in windowed]
    np.testing.assert_array_equal([each.level for each in compared], threshold.level(windowed))
    for each, scores in zip(compared, windowed, strict=True):
        numbers = combine(rule, threshold.scale(scores))[threshold.folds]
        assert each.below == (numbers > threshold.limits).sum()
        assert (each.thresholds > 0).all()


@given(rule=rules, seed=seeds)
def test_the_deciding_pair_explains_the_level(rule, seed):
    """By its fold's scores and thresholds alone the rule comes out the same."""
    threshold, random = some_threshold(rule, seed)
    for scores in random.uniform(0, 6, (20, 3, 2)):
        compared = threshold.compare(scores)
        ratios = scores[compared.fold] / compared.thresholds
        if rule == "any":
            assert (ratios.max() > 1) == (compared.level > 1)
        elif rule == "all":
            assert (ratios.min() > 1) == (compared.level > 1)


@given(rule=rules, seed=seeds, more=st.floats(0, 3))
def test_a_larger_score_never_lowers_the_level(rule, seed, more):
    threshold, random = some_threshold(rule, seed)
    windowed = some_scores(random)
    raised = windowed + more * random.random(windowed.shape)
    assert (threshold.level(raised) >= threshold.level(windowed)).all()


@given(rule=rules, seed=seeds)
def test_with_one_fold_the_kth_smallest_limit_decides(rule, seed):
    random = np.random.default_rng(seed)
    scale = Scale(random.uniform(1, 3, 2), random.uniform(0.2, 1, 2))
    maxima = random.normal(1.0, 0.5, 12)
    pairs = paired_threshold(rule, [scale], maxima, np.zeros(12, np.int64), alpha=0.2)
    limit = finite_sample_quantile(maxima, alpha=0.2)
    alone = PairedThreshold.of_one_limit(rule, scale, limit)
    windowed = some_scores(random, folds=1)
    np.testing.assert_array_equal(pairs.level(windowed), alone.level(windowed))
    assert pairs.limit == limit
    np.testing.assert_array_equal(pairs.thresholds, alone.thresholds)


@given(rule=rules, seed=seeds)
def test_the_order_of_the_calibration_rollouts_is_of_no_meaning(rule, seed):
    threshold, random = some_threshold(rule, seed)
    order = random.permutation(12)
    shuffled = PairedThreshold(
        rule,
        threshold.scale,
        threshold.limits[order],
        threshold.folds[order],
        threshold.weights[order],
        threshold.needed,
    )
    windowed = some_scores(random)
    np.testing.assert_array_equal(shuffled.level(windowed), threshold.level(windowed))


@given(rule=rules, seed=seeds)
def test_a_stricter_alpha_never_raises_the_level(rule, seed):
    random = np.random.default_rng(seed)
    scales = [Scale(random.uniform(1, 3, 2), random.uniform(0.2, 1, 2)) for _ in range(3)]
    maxima, folds = random.normal(1.0, 0.5, 12), np.arange(12) % 3
    loose, strict = (paired_threshold(rule, scales, maxima, folds, alpha) for alpha in (0.3, 0.1))
    windowed = some_scores(random)
    assert (strict.level(windowed) <= loose.level(windowed)).all()


@given(seed=seeds)
def test_scales_over_time_of_different_lengths_keep_their_last_values(seed):
    random = np.random.default_rng(seed)
    scales = [
        TimeVaryingScale(random.uniform(1, 3, (length, 2)), random.uniform(0.2, 1, (length, 2)))
        for length in (4, 7)
    ]
    maxima, folds = random.normal(1.0, 0.5, 12), np.arange(12) % 2
    threshold = paired_threshold("mean", scales, maxima, folds, alpha=0.2)
    windowed = random.uniform(0, 6, (10, 2, 2))
    levels = threshold.at(np.arange(10)).level(windowed)
    for decision, scores in enumerate(windowed):
        at = [scale.at(decision) for scale in scales]
        own = replace(threshold, scale=Scale.of_folds(at))
        assert own.level(scores) == levels[decision]
    assert threshold.scale.covers(6)
    assert not threshold.scale.covers(7)


@pytest.mark.parametrize("n", [10, 20, 40])
@pytest.mark.parametrize("folds", [5, 10])
def test_the_alarm_is_as_rare_as_promised_and_hardly_rarer(n, folds):
    """The models are the mean and deviation of the rollouts outside their fold."""
    random, alpha, repetitions = np.random.default_rng(n + folds), 0.1, 3000
    fold = np.arange(n) % folds
    alarms = 0
    for _ in range(repetitions):
        *calibration, fresh = random.normal(size=n + 1)
        x = np.array(calibration)
        scales = [
            Scale(np.array([x[fold != f].mean() + 20]), np.array([x[fold != f].std(ddof=1)]))
            for f in range(folds)
        ]
        maxima = np.array(
            [scales[f](np.array([one + 20]))[0] for one, f in zip(x, fold, strict=True)]
        )
        threshold = paired_threshold("mean", scales, maxima, fold, alpha)
        alarms += threshold.level(np.full((folds, 1), fresh + 20)) > 1
    allowed = (n + 1 - rank(n, alpha)) / (n + 1)
    error = np.sqrt(allowed * (1 - allowed) / repetitions)
    assert 0.8 * allowed - 3 * error < alarms / repetitions < alpha + 3 * error


def test_a_score_that_never_changes_is_at_its_threshold_and_not_above():
    series = [np.full((5, 1), 3.0)] * 9
    scales = [Scale.fit(series[3:])] * 3
    maxima = np.array([float(scales[0](each).max()) for each in series])
    threshold = paired_threshold("mean", scales, maxima, np.arange(9) % 3, alpha=0.2)
    assert threshold.level(np.full((3, 1), 3.0)) == 1.0
    assert threshold.compare(np.full((3, 1), 3.0)).below == 0
    assert threshold.level(np.full((3, 1), 3.01)) > 1


def test_scores_that_are_always_0_leave_no_room():
    scales = [Scale.fit([np.zeros((5, 1))])] * 3
    with pytest.raises(CalibrationError, match="a threshold would be 0 or less"):
        paired_threshold("mean", scales, np.zeros(9), np.arange(9) % 3, alpha=0.2)


@given(seed=seeds, low=st.integers(1, 10))
def test_a_few_rollouts_that_hardly_leave_0_cost_no_threshold(seed, low):
    """The rank is 11 of 12: fewer than 11 may have been lower than any score can be."""
    random = np.random.default_rng(seed)
    scales = [Scale(random.uniform(0, 1, 2), random.uniform(0.5, 1, 2)) for _ in range(3)]
    maxima = random.uniform(0.5, 2, 12)
    maxima[:low] = random.choice([-100.0, -np.inf, -3.0], low)
    threshold = paired_threshold("all", scales, maxima, np.arange(12) % 3, alpha=0.2)
    assert threshold.needed == 11
    windowed = np.vstack([some_scores(random), np.zeros((1, 3, 2))])
    assert np.isfinite(threshold.level(windowed)).all()
    assert np.isfinite(threshold.limits).all()
    assert (threshold.compare(np.zeros((3, 2))).thresholds > 0).all()
    assert threshold.compare(np.zeros((3, 2))).below == 0
    assert threshold.limit == finite_sample_quantile(maxima, alpha=0.2)


def test_one_rollout_more_that_low_is_refused():
    scales = [Scale(np.ones(2), np.ones(2))] * 3
    maxima = np.concatenate([np.full(11, -100.0), [1.0]])
    with pytest.raises(CalibrationError, match="never raised together"):
        paired_threshold("all", scales, maxima, np.arange(12) % 3, alpha=0.2)


def test_a_mean_needs_k_rollouts_below_its_ceiling():
    scales = [Scale(np.ones(2), np.ones(2))] * 3
    maxima = np.concatenate([np.full(9, 0.5), np.full(3, CEILING)])
    folds = np.arange(12) % 3
    with pytest.raises(CalibrationError, match="out of reach"):
        paired_threshold("mean", scales, maxima, folds, alpha=0.2)
    threshold = paired_threshold("mean", scales, np.sort(maxima)[:11], folds[:11], alpha=0.25)
    assert threshold.level(np.full((3, 2), 1e9)) > 1


def test_what_is_undefined_calls_for_no_alarm():
    threshold, _ = some_threshold("any", 0)
    compared = threshold.compare(np.full((3, 2), np.nan))
    assert (compared.level, compared.below) == (0.0, 0)


@given(rule=rules, seed=seeds)
def test_across_tasks_each_task_weighs_the_same(rule, seed):
    """However often a task's rollouts are repeated, and as one rollout each they are ranked."""
    random = np.random.default_rng(seed)
    scales = [Scale(random.uniform(1, 3, 2), random.uniform(0.2, 1, 2)) for _ in range(3)]
    maxima, folds = random.normal(1.0, 0.5, 12), np.arange(12) % 3
    names = [f"task {number}" for number in range(12)]
    across = paired_threshold(rule, scales, maxima, folds, 0.2, names)
    ranked = paired_threshold(rule, scales, maxima, folds, 0.2)
    again = np.concatenate([np.arange(12), [3, 3, 3, 7]])
    repeated = paired_threshold(
        rule, scales, maxima[again], folds[again], 0.2, [names[place] for place in again]
    )
    windowed = some_scores(random)
    np.testing.assert_array_equal(across.level(windowed), ranked.level(windowed))
    np.testing.assert_array_equal(repeated.level(windowed), ranked.level(windowed))
    assert across.limit == repeated.limit == ranked.limit


def test_with_too_few_tasks_for_alpha_all_of_them_must_lie_below():
    scale, limits = Scale(np.zeros(1), np.ones(1)), np.array([1.0, 2.0, 3.0, 4.0])
    tasks = ["pick", "pick", "place", "place"]
    threshold = paired_threshold("any", [scale], limits, np.zeros(4, np.int64), 0.1, tasks)
    assert threshold.needed == pytest.approx(2 / 3)
    assert threshold.level(np.array([[3.9]])) < 1 < threshold.level(np.array([[4.1]]))


@pytest.mark.parametrize(("tasks", "allowed"), [(19, 0.1), (9, 0.1), (4, 0.2)])
def test_the_promise_across_tasks_holds_for_a_task_never_seen(tasks, allowed):
    """Tasks differ more than their rollouts do, and have one to eight of these."""
    random, repetitions = np.random.default_rng(tasks), 3000
    alarms = pooled = 0
    for _ in range(repetitions):
        counts = random.integers(1, 9, tasks)
        task = np.repeat(np.arange(tasks), counts)
        numbers = np.repeat(random.normal(size=tasks), counts) + random.normal(0, 0.3, len(task))
        fresh = random.normal() + random.normal(0, 0.3)
        fold, scale = np.zeros(len(task), np.int64), Scale(np.full(1, 20.0), np.ones(1))
        across = paired_threshold("any", [scale], numbers, fold, 0.1, [str(one) for one in task])
        alarms += across.level(np.array([[fresh + 20]])) > 1
        ranked = paired_threshold("any", [scale], numbers, fold, 0.1 if len(task) > 8 else 0.2)
        pooled += ranked.level(np.array([[fresh + 20]])) > 1
    error = np.sqrt(allowed * (1 - allowed) / repetitions)
    assert 0.5 * allowed < alarms / repetitions < allowed + 3 * error
    # A rank among all rollouts would promise what it does not keep where tasks are few.
    assert pooled > alarms or tasks == 4


def of_groups(numbers, groups, future, alpha=0.1):
    """A threshold of one score on the scale of its numbers, which are far above 0."""
    fold, scale = np.zeros(len(groups), np.int64), Scale(np.full(1, 20.0), np.ones(1))
    return paired_threshold("any", [scale], numbers, fold, alpha, groups=groups, future=future)


@given(alpha=st.sampled_from([0.05, 0.1, 0.2]), seed=seeds)
def test_one_group_to_come_is_ranked_among_its_own(alpha, seed):
    """Rollouts of a group that comes no more weigh nothing, wherever they lie."""
    random = np.random.default_rng(seed)
    numbers, groups = random.normal(size=30), ["morning"] * 20 + ["evening"] * 10
    alone = of_groups(numbers, groups, {"morning": 1.0}, alpha)
    assert alone.limit == np.sort(numbers[:20])[rank(20, alpha) - 1]
    windowed = random.normal(20, 1, (1, 1))
    level = of_groups(numbers[:20], groups[:20], {}, alpha).level(windowed)
    np.testing.assert_array_equal(alone.level(windowed) > 1, level > 1)


@pytest.mark.parametrize(
    ("counts", "share", "shifted"),
    [((45, 5), 0.3, True), ((40, 12), 0.9, True), ((60, 9), 1.0, True), ((12, 12), 0.5, False)],
)
def test_weighed_rollouts_keep_the_promise_where_groups_shift(counts, share, shifted):
    """In the evening numbers are higher, and evenings become more frequent."""
    random, repetitions = np.random.default_rng(counts[1]), 3000
    groups = ["morning"] * counts[0] + ["evening"] * counts[1]
    future = {"morning": 1 - share, "evening": share} if share < 1 else {"evening": 1.0}
    calibration = random.normal(size=(repetitions, len(groups)))
    calibration[:, counts[0] :] += 2
    fresh = random.normal(size=repetitions) + 2 * (random.random(repetitions) < share)
    alarms = {}
    for name, shares in {"weighed": future, "alike": {}}.items():
        alarms[name] = np.mean(
            [
                of_groups(numbers, groups, shares).level(np.array([[one + 20]])) > 1
                for numbers, one in zip(calibration, fresh, strict=True)
            ]
        )
    error = np.sqrt(0.1 * 0.9 / repetitions)
    assert 0.03 < alarms["weighed"] < 0.1 + 3 * error
    if shifted:
        assert alarms["alike"] > 0.1 + 5 * error


def test_a_group_to_come_needs_enough_rollouts():
    numbers, groups = np.arange(24.0), ["morning"] * 20 + ["evening"] * 4
    with pytest.raises(CalibrationError, match=r"night has no calibration rollout .*evening"):
        of_groups(numbers, groups, {"night": 0.5, "morning": 0.5})
    # 0.7 / 5 + 0.3 / 21 lies above all that there are.
    with pytest.raises(
        CalibrationError, match=r"all of evening \(4 rollouts .* alpha 0\.155 or more"
    ):
        of_groups(numbers, groups, {"evening": 0.7, "morning": 0.3})
    assert of_groups(numbers, groups, {"evening": 0.7, "morning": 0.3}, 0.155).limit == 23


def test_the_effective_number_is_that_of_equal_weights():
    assert effective_number(np.full(7, 0.3)) == pytest.approx(7)
    assert effective_number(np.array([1.0, 1.0, 0.0, 0.0])) == pytest.approx(2)
