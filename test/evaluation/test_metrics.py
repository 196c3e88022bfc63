# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The figures, worked out by hand, by other formulas, and where they are not defined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from failure_monitor.evaluation.metrics import (
    Metrics,
    RolloutResult,
    auroc,
    clopper_pearson,
    measure,
    roc_curve,
)

NEVER = 0.5
LEVELS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), min_size=1, max_size=12)


def result(
    decisions: int, alarm: int | None, *, success: bool, group: str = "id", period: float = 0.5
) -> RolloutResult:
    """A rollout whose level is 2 from the alarm on, below 1 before."""
    levels = np.full(decisions, NEVER)
    if alarm is not None:
        levels[alarm:] = 2.0
    return RolloutResult("rollout", success, group, levels, 10 + period * np.arange(decisions))


def figures(results: Sequence[RolloutResult], early_decisions: float, longest: int) -> Metrics:
    early = [replace(result, early_decisions=early_decisions) for result in results]
    return measure(early, longest=longest)


def results_of(outcomes: Sequence[bool], levels: Sequence[list[float]]) -> list[RolloutResult]:
    return [
        RolloutResult(
            "rollout", success, "id", np.array(level), np.arange(len(level), dtype=float)
        )
        for success, level in zip(outcomes, levels, strict=True)
    ]


def example() -> Metrics:
    """Four successes, of which one alarms late, four failures, of which three alarm."""
    results = [
        result(10, None, success=True),
        result(10, None, success=True),
        result(12, 9, success=True),
        result(8, None, success=True, group="light"),
        result(20, 5, success=False),
        result(20, 10, success=False, group="light"),
        result(20, 15, success=False, group="light"),
        result(20, None, success=False, group="light"),
    ]
    return figures(results, early_decisions=8.0, longest=20)


def test_rates_are_shares_of_the_failed_and_the_successful_rollouts() -> None:
    metrics = example()
    assert (metrics.n_success, metrics.n_failure) == (4, 4)
    assert (metrics.tpr, metrics.tnr, metrics.balanced_accuracy) == (0.75, 0.75, 0.75)


def test_early_rates_count_only_alarms_before_the_median_length() -> None:
    metrics = example()
    assert (metrics.early_tpr, metrics.early_tnr) == (0.25, 1.0)
    assert metrics.early_balanced_accuracy == 0.625


@pytest.mark.parametrize(("early_decisions", "counts"), [(5, 0.0), (5.5, 1.0), (6, 1.0)])
def test_an_alarm_at_the_median_length_is_not_early(early_decisions: float, counts: float) -> None:
    metrics = figures([result(9, 5, success=False)], early_decisions=early_decisions, longest=9)
    assert metrics.early_tpr == counts


def test_detection_time_is_the_mean_alarm_as_a_fraction_of_the_longest_rollout() -> None:
    assert example().detection_time == pytest.approx((5 + 10 + 15) / 3 / 20)


def test_twa_gives_misses_nothing() -> None:
    assert example().twa == pytest.approx(((0.75 + 0.5 + 0.25 + 0) / 4 + 0.75) / 2)


def test_false_alarms_are_those_of_undisturbed_successes() -> None:
    metrics = example()
    assert metrics.false_alarm_rate == pytest.approx(1 / 3)
    assert metrics.false_alarm_interval == clopper_pearson(1, 3)


@pytest.mark.parametrize(("group", "counts"), [("", 1), ("id", 1), ("none", 1), ("light", 0)])
def test_undisturbed_groups_are_known_by_name(group: str, counts: int) -> None:
    metrics = figures([result(5, 2, success=True, group=group)], early_decisions=5, longest=5)
    assert metrics.false_alarm_rate == (1.0 if counts else None)


def test_lead_time_is_the_median_from_alarm_to_end_of_detected_failures() -> None:
    assert example().lead_time_s == pytest.approx(0.5 * np.median([14, 9, 4]))


def test_alarms_per_hour_counts_one_alarm_a_rollout() -> None:
    metrics = figures(
        [result(11, 2, success=False), result(11, None, success=True)],
        early_decisions=5,
        longest=11,
    )
    assert metrics.alarms_per_hour == pytest.approx(1 / (10 / 3600))


def test_an_alarm_is_above_one_not_at_one() -> None:
    at_one = RolloutResult("at", True, "", np.array([1.0, 1.0]), np.array([0.0, 1.0]))
    assert at_one.alarm_decision is None
    above = RolloutResult("above", True, "", np.array([1.0, np.nextafter(1, 2)]), at_one.stamps)
    assert above.alarm_decision == 1


@pytest.mark.parametrize(("before", "expected"), [(2, 1.0), (2.5, 3.0), (3, 3.0), (99, 7.0)])
def test_early_levels_are_those_of_decisions_with_a_smaller_number(
    before: float, expected: float
) -> None:
    levels = np.array([0.0, 1.0, 3.0, 7.0])
    result = RolloutResult("r", True, "", levels, np.arange(4.0), early_decisions=before)
    assert result.early_max_level == expected


def test_without_failures_nothing_is_said_of_detection() -> None:
    metrics = figures([result(5, None, success=True)], early_decisions=5, longest=5)
    assert metrics.tnr == 1.0
    for name in (
        "tpr",
        "balanced_accuracy",
        "detection_time",
        "twa",
        "early_tpr",
        "early_balanced_accuracy",
        "auroc",
        "early_auroc",
        "lead_time_s",
    ):
        assert getattr(metrics, name) is None, name


def test_without_successes_nothing_is_said_of_false_alarms() -> None:
    metrics = figures([result(5, 1, success=False)], early_decisions=5, longest=5)
    assert metrics.tpr == 1.0
    for name in (
        "tnr",
        "balanced_accuracy",
        "twa",
        "early_tnr",
        "auroc",
        "false_alarm_rate",
        "false_alarm_interval",
    ):
        assert getattr(metrics, name) is None, name


def test_without_detected_failures_there_is_no_detection_time() -> None:
    metrics = figures([result(5, None, success=False)], early_decisions=5, longest=5)
    assert (metrics.tpr, metrics.detection_time, metrics.lead_time_s) == (0.0, None, None)


def test_rollouts_of_one_decision_have_no_alarms_per_hour() -> None:
    metrics = figures([result(1, 0, success=False)], early_decisions=5, longest=5)
    assert metrics.alarms_per_hour is None


@given(LEVELS, LEVELS)
def test_auroc_is_the_share_of_pairs_in_order_with_ties_as_half(
    failed: list[float], successful: list[float]
) -> None:
    wins = [(f > s) + 0.5 * (f == s) for f in failed for s in successful]
    assert auroc(failed, successful) == pytest.approx(np.mean(wins), abs=1e-12)


@given(LEVELS, LEVELS)
def test_auroc_turns_round_with_the_sides_and_ignores_the_scale(
    failed: list[float], successful: list[float]
) -> None:
    area = auroc(failed, successful)
    assert area is not None
    assert auroc(successful, failed) == pytest.approx(1 - area, abs=1e-12)
    assert auroc([math.exp(f) for f in failed], [math.exp(s) for s in successful]) == area


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=9),
    st.lists(st.integers(0, 6), min_size=1, max_size=9),
)
def test_the_area_under_the_roc_curve_is_the_auroc(
    failed: list[float], successful: list[float]
) -> None:
    alarms, detections = roc_curve(failed, successful)
    assert (alarms[0], detections[0], alarms[-1], detections[-1]) == (0, 0, 1, 1)
    area = np.sum(np.diff(alarms) * (detections[1:] + detections[:-1]) / 2)
    assert area == pytest.approx(auroc(failed, successful))


def test_there_is_no_roc_curve_without_failures_or_without_successes() -> None:
    assert roc_curve([], [1.0]) is None
    assert roc_curve([1.0], []) is None


@pytest.mark.parametrize(("events", "trials"), [(0, 10), (1, 10), (5, 50), (9, 10), (10, 10)])
def test_the_clopper_pearson_interval_ends_where_the_binomial_tails_do(
    events: int, trials: int
) -> None:
    low, high = clopper_pearson(events, trials) or (math.nan, math.nan)
    assert low <= events / trials <= high
    if events == 0:
        assert low == 0.0
    else:
        assert binom.sf(events - 1, trials, low) == pytest.approx(0.025)
    if events == trials:
        assert high == 1.0
    else:
        assert binom.cdf(events, trials, high) == pytest.approx(0.025)


@given(st.lists(st.tuples(st.booleans(), LEVELS), min_size=1, max_size=8), st.integers(1, 14))
def test_every_rate_lies_between_nothing_and_all(
    drawn: list[tuple[bool, list[float]]], early: int
) -> None:
    results = results_of(*zip(*drawn, strict=True))
    metrics = figures(results, early_decisions=early, longest=max(r.decisions for r in results))
    for name in ("tpr", "tnr", "detection_time", "twa", "early_tpr", "early_auroc", "auroc"):
        value = getattr(metrics, name)
        assert value is None or 0 <= value <= 1, name
    if metrics.tpr is not None:
        assert metrics.early_tpr <= metrics.tpr
    if metrics.tnr is not None:
        assert metrics.early_tnr >= metrics.tnr


@given(st.lists(st.tuples(st.booleans(), LEVELS), min_size=1, max_size=8))
def test_everything_is_early_before_an_infinite_length(
    drawn: list[tuple[bool, list[float]]],
) -> None:
    metrics = figures(results_of(*zip(*drawn, strict=True)), early_decisions=math.inf, longest=12)
    assert (metrics.early_tpr, metrics.early_tnr) == (metrics.tpr, metrics.tnr)
    assert metrics.early_auroc == metrics.auroc
