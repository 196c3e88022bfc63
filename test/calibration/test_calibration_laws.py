# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What holds of calibration whatever the rollouts are."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings

ROLLOUTS = [synthetic_rollout(seed, decisions=8 + seed % 4) for seed in range(20)]
OTHERS = [synthetic_rollout(seed) for seed in range(100, 110)]
NEW = synthetic_rollout(999)
CHEAP = CalibrationSettings(scores=("ace", "knn", "phase_knn"), alpha=0.2, folds=4, jobs=1)
TRAINED = dataclasses.replace(
    CHEAP, scores=("rnd_oe", "rnd_a", "logpzo", "pseudo_count"), rule="any", folds=2
)


def assert_same(bundle: Bundle, other: Bundle) -> None:
    assert other.description.promises == bundle.description.promises
    for promise in bundle.description.promises:
        new = dataclasses.replace(NEW, task=promise.task)
        np.testing.assert_array_equal(other.levels(new), bundle.levels(new))


@settings(max_examples=5, deadline=None)
@given(st.permutations(ROLLOUTS))
def test_the_order_of_rollouts_changes_nothing(permuted):
    assert_same(calibrate(ROLLOUTS, POLICY, CHEAP), calibrate(permuted, POLICY, CHEAP))


def test_the_order_of_rollouts_changes_nothing_that_is_trained():
    rollouts = ROLLOUTS[:8]
    assert_same(calibrate(rollouts, POLICY, TRAINED), calibrate(rollouts[::-1], POLICY, TRAINED))


def test_the_order_of_rollouts_of_several_tasks_changes_nothing():
    rollouts = [
        dataclasses.replace(rollout, task=task)
        for rollout, task in zip(ROLLOUTS, ("pick", "place") * 10, strict=True)
    ]
    assert_same(calibrate(rollouts, POLICY, CHEAP), calibrate(rollouts[::-1], POLICY, CHEAP))


def test_the_order_of_rollouts_to_fit_on_changes_nothing():
    assert_same(
        calibrate(ROLLOUTS, POLICY, CHEAP, fit_rollouts=OTHERS),
        calibrate(ROLLOUTS[::-1], POLICY, CHEAP, fit_rollouts=OTHERS[::-1]),
    )


@pytest.mark.parametrize("threshold", ["constant", "time-varying"])
@pytest.mark.parametrize("rule", ["all", "any", "mean"])
def test_a_smaller_alpha_never_lowers_a_threshold_nor_raises_a_level(rule, threshold):
    asked = dataclasses.replace(CHEAP, rule=rule, threshold=threshold)
    bundles = [
        calibrate(ROLLOUTS, POLICY, dataclasses.replace(asked, alpha=alpha))
        for alpha in (0.4, 0.2, 0.1, 0.05)
    ]
    limits = [bundle.promise().limit for bundle in bundles]
    assert limits == sorted(limits)
    assert limits[0] < limits[-1]
    decisions = np.arange(len(NEW))
    for looser, stricter in pairwise(bundles):
        of_looser = looser.threshold().at(decisions).thresholds
        assert (stricter.threshold().at(decisions).thresholds >= of_looser).all()
        over = stricter.levels(NEW) > 1
        assert (looser.levels(NEW)[over] > 1).all()
