# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The scores of the last seconds, as they are drawn: no older, none of another rollout, no NaN."""

import math

import numpy as np

from failure_monitor.monitoring.alarm_values import RULE
from failure_monitor.monitoring.score_history import MAX_DECISIONS, ScoreHistory


def levels(level: float, **scores: float) -> dict[str, float]:
    return {**scores, RULE: level}


def test_curve_is_of_the_last_seconds_oldest_first():
    history = ScoreHistory(10.0)
    for second in range(20):
        history.add(levels(0.1 * second, ace=0.01 * second), float(second))
    curve = history.curve("ace", 19.0)
    np.testing.assert_allclose(curve[:, 0], np.arange(10, -1, -1))
    np.testing.assert_allclose(curve[:, 1], 0.01 * np.arange(9, 20))
    np.testing.assert_allclose(history.curve(RULE, 19.0)[:, 1], 0.1 * np.arange(9, 20))


def test_what_is_undefined_or_infinite_leaves_a_gap():
    history = ScoreHistory(10.0)
    for second, value in enumerate((math.nan, 0.5, math.inf, 0.7)):
        history.add(levels(0.5, stac=value), float(second))
    assert history.curve("stac", 3.0).tolist() == [[2.0, 0.5], [0.0, 0.7]]


def test_curve_of_a_score_that_nobody_computes_is_empty():
    history = ScoreHistory(10.0)
    history.add(levels(0.5, ace=0.5), 0.0)
    assert history.curve("knn", 0.0).shape == (0, 2)


def test_another_rollout_begins_without_a_past():
    history = ScoreHistory(10.0)
    history.add(levels(0.5, ace=0.5), 0.0)
    history.clear()
    assert history.curve("ace", 0.0).shape == (0, 2)


def test_memory_is_bounded_however_fast_decisions_come():
    history = ScoreHistory(10.0)
    for index in range(2 * MAX_DECISIONS):
        history.add(levels(0.5, ace=float(index)), 1.0)
    curve = history.curve("ace", 1.0)
    assert curve[0, 1] == MAX_DECISIONS
    assert curve[-1, 1] == 2 * MAX_DECISIONS - 1
