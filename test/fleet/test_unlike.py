# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""E-values have a mean of 1 where nothing differs, and name the robot that does."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import hypergeom

from failure_monitor.fleet.unlike import (
    Comparison,
    CountedRollouts,
    Event,
    compare,
    e_bh,
    log_e_value,
)


def robot(alarms: np.ndarray, below: np.ndarray | None = None) -> CountedRollouts:
    below = np.full(len(alarms), -1) if below is None else below
    return CountedRollouts(np.asarray(alarms, dtype=bool), below)


@pytest.mark.parametrize(("own", "others", "total"), [(20, 60, 9), (5, 5, 5), (40, 10, 45)])
def test_the_mean_of_an_e_value_is_exactly_one_where_nothing_differs(own, others, total):
    possible = np.arange(max(0, total - others), min(own, total) + 1)
    chances = hypergeom(own + others, total, own).pmf(possible)
    values = [math.exp(log_e_value(x, own, total - x, others)) for x in possible]
    assert chances @ values == pytest.approx(1)
    assert values == sorted(values)


def test_the_others_that_it_is_compared_with_are_the_worst_choice_of_three_quarters():
    generator = np.random.default_rng(0)
    alarms = [generator.random(50) < 0.2 for _ in range(9)]
    own, others = alarms[0], alarms[1:]
    found = compare([robot(each) for each in alarms], None)[0]
    every_choice = [
        log_e_value(own.sum(), 50, sum(others[i].sum() for i in chosen), 50 * 6)
        for chosen in combinations(range(8), 6)
    ]
    assert found.log_e == pytest.approx(min(every_choice))


def test_one_robot_that_differs_makes_no_other_look_different():
    generator = np.random.default_rng(1)
    rates = [0.0, *[0.3] * 19]
    robots = [robot(generator.random(2000) < rate) for rate in rates]
    found = compare(robots, None)
    assert not any(e_bh([each.log_e for each in found], 0.1))


@pytest.mark.parametrize(
    ("event", "alarm_rate", "places"),
    [(Event.ALARMS, 0.5, (0, 31)), (Event.HIGH, 0.1, (15, 31)), (Event.LOW, 0.1, (0, 15))],
)
def test_a_robot_that_differs_is_named_with_what_it_shows_more_often(event, alarm_rate, places):
    generator = np.random.default_rng(2)
    robots = [
        robot(generator.random(150) < 0.1, generator.integers(0, 31, 150)) for _ in range(19)
    ]
    robots.append(robot(generator.random(150) < alarm_rate, generator.integers(*places, 150)))
    found = compare(robots, 30)
    assert e_bh([each.log_e for each in found], 0.1) == [False] * 19 + [True]
    assert found[-1].mostly.event is event


def test_robots_of_very_different_numbers_of_rollouts_are_compared():
    generator = np.random.default_rng(3)
    lengths = [0, 1, 3, 10_000, 500, 50]
    found = compare([robot(generator.random(n) < 0.1) for n in lengths], None)
    assert found[0] is None
    assert all(isinstance(each, Comparison) for each in found[1:])
    # Whoever has too few rollouts to speak for others is not compared with.
    assert found[4].evidence[0].other_rollouts >= 50


@pytest.mark.parametrize("alone", [[], [np.ones(50)], [np.ones(50), np.zeros(0)]])
def test_without_others_nothing_is_compared(alone):
    assert compare([robot(each) for each in alone], 30) == [None] * len(alone)


def test_e_bh_is_that_of_the_paper():
    # K = 4 at level 0.2: the largest needs 20, the two largest 10, three 6.67, all 5.
    assert e_bh(np.log([19, 9, 7, 4]).tolist(), 0.2) == [True, True, True, False]
    assert e_bh(np.log([19, 9, 6, 4]).tolist(), 0.2) == [False] * 4
    assert e_bh([], 0.1) == []
