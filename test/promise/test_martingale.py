# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The bets against exchangeability: their laws, exactly."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest

from failure_monitor.promise.martingale import (
    MAX_ENTRIES,
    TWO_SIDED,
    Direction,
    Martingales,
)


def expected_capital(bets: Martingales, rollouts: int) -> float:
    """The mean capital over all courses of cells, by Pólya's law."""
    if not rollouts:
        return float(np.exp(bets.log_capital[0]))
    total = 0.0
    for cell, chance in enumerate(bets.chances()[0]):
        after = deepcopy(bets)
        after.update(np.array([cell]))
        total += chance * expected_capital(after, rollouts - 1)
    return total


@pytest.mark.parametrize(
    ("masses", "directions", "rollouts"),
    [
        (np.ones(3), TWO_SIDED, 5),
        (np.ones(2), (Direction.LOWER,), 7),
        (np.array([9.0, 2.0]), (Direction.HIGHER,), 8),
        (np.ones(1), TWO_SIDED, 3),
    ],
)
def test_the_capital_is_a_martingale_under_polyas_law(masses, directions, rollouts):
    assert expected_capital(Martingales(masses, 1, directions), rollouts) == pytest.approx(1.0)


def test_polyas_law_is_that_of_exchangeable_rollouts():
    """All orders of n + m different values are equally likely: the chance of the next gap."""
    random = np.random.default_rng(0)
    values = random.random((200_000, 2 + 2))
    gaps = (values[:, :2, None] < values[:, None, 2:]).sum(axis=1)
    bets = Martingales(np.ones(3))
    bets.update(np.array([2]))
    after_two = gaps[gaps[:, 0] == 2, 1]
    found = np.bincount(after_two, minlength=3) / len(after_two)
    np.testing.assert_allclose(found, bets.chances()[0], atol=0.01)


@pytest.mark.parametrize(
    ("cells", "direction"),
    [
        ([19] * 12, Direction.HIGHER),
        ([0] * 12, Direction.LOWER),
        ([10] * 12, Direction.ALIKE),
        ([17, 18, 19, 18, 19, 17, 19, 18, 16, 19, 18, 17] * 2, Direction.HIGHER),
        ([2, 1, 0, 1, 0, 2, 0, 1, 3, 0, 1, 2] * 2, Direction.LOWER),
    ],
)
def test_rollouts_that_differ_make_the_capital_grow_and_say_how(cells, direction):
    bets = Martingales(np.ones(20))
    for cell in cells:
        bets.update(np.array([cell]))
    assert bets.log_capital[0] > math.log(100)
    assert bets.direction(0) is direction


def test_further_out_is_more_evidence():
    capitals = []
    for cell in (10, 14, 17, 19):
        bets = Martingales(np.ones(20), directions=(Direction.HIGHER,))
        for _ in range(10):
            bets.update(np.array([cell]))
        capitals.append(bets.log_capital[0])
    assert capitals == sorted(capitals)
    assert len(set(capitals)) == len(capitals)


def test_a_change_that_comes_late_is_found():
    random = np.random.default_rng(1)
    bets = Martingales(np.ones(20))
    for cell in random.integers(0, 20, 400):
        bets.update(np.array([cell]))
    assert bets.log_capital[0] < 0
    late = 0
    while bets.log_capital[0] < math.log(100):
        bets.update(np.array([19]))
        late += 1
    assert late < 20


def test_series_do_not_touch_each_other():
    together, alone = Martingales(np.ones(5), 2), Martingales(np.ones(5))
    random = np.random.default_rng(2)
    for cell, other in random.integers(0, 5, (2 * MAX_ENTRIES, 2)):
        together.update(np.array([cell, other]))
        alone.update(np.array([cell]))
    assert together.log_capital[0] == pytest.approx(alone.log_capital[0])
    assert together.log_capital[1] != together.log_capital[0]


@pytest.mark.parametrize("n", [10, 50])
def test_streams_that_are_like_calibration_are_seldom_called_otherwise(n):
    random = np.random.default_rng(n)
    calibration = random.normal(size=(400, n))
    new = random.normal(size=(400, 60))
    bets = Martingales(np.ones(n + 1), 400)
    largest = np.full(400, -np.inf)
    for values in new.T:
        bets.update((calibration < values[:, None]).sum(axis=1))
        largest = np.maximum(largest, bets.log_capital)
    # A chance of 1 in 20 at most; 34 of 400 would be four standard deviations too many.
    assert (largest >= math.log(20)).sum() < 34
