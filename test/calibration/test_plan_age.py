# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The longest time for which calibration saw a plan being executed."""

import dataclasses

import numpy as np
import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.description import OLDER_THAN_DECISION
from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.plan_age import longest_plan_age
from failure_monitor.calibration.settings import CalibrationSettings

STAMPS = np.array([0.0, 0.4, 0.8, 1.3, 1.7])


def rollout(name: str = "a", stamps: np.ndarray = STAMPS):
    own = synthetic_rollout(0, decisions=len(stamps))
    return dataclasses.replace(own, stamps=stamps, sha256=name)


def test_from_stamps_alone_it_is_the_longest_time_between_decisions():
    assert longest_plan_age([rollout()], {}) == pytest.approx(0.5)
    assert longest_plan_age([rollout(stamps=STAMPS[:1])], {}) is None


def test_a_plan_is_executed_until_the_next_decision_was_received():
    delays = {"a": np.array([0.9, 0.1, 0.3, 0.1, 0.2])}
    # From 0.4 s to 1.1 s; the first decision ended no plan.
    assert longest_plan_age([rollout("a"), rollout("b")], delays) == pytest.approx(0.7)


@pytest.mark.parametrize("offset", [-3600.0, -0.2, 3600.0, 1.7e9])
def test_a_bag_by_another_clock_tells_how_delays_differ(offset):
    delays = {"a": offset + np.array([0.0, 0.1, 0.3, 0.1, 0.2])}
    assert longest_plan_age([rollout()], delays) == pytest.approx(0.7, abs=1e-6)


def test_a_pause_and_a_message_that_was_late_once_are_no_example():
    paused = rollout("a", np.concatenate([STAMPS, 60 + STAMPS]))
    late = {"a": np.array([0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])}
    assert longest_plan_age([paused], late) == pytest.approx(0.5)


def test_the_bundle_bounds_it_by_three_times_as_much(tmp_path):
    slow = [
        dataclasses.replace(r, stamps=0.5 * np.arange(len(r)), sha256=r.name)
        for r in map(synthetic_rollout, range(8))
    ]
    settings = CalibrationSettings(scores=("ace",), alpha=0.2, folds=2, jobs=1)
    delays = {r.name: np.full(len(r), 0.25) for r in slow}
    save(calibrate(slow, POLICY, settings, delays=delays), tmp_path / "bundle")
    description = load(tmp_path / "bundle").description
    assert description.longest_plan_age == pytest.approx(0.75)
    assert description.max_plan_age == pytest.approx(2.25)
    fast = dataclasses.replace(description, longest_plan_age=0.1)
    assert fast.max_plan_age == OLDER_THAN_DECISION * fast.max_decision_age
    assert dataclasses.replace(description, longest_plan_age=None).max_plan_age is None
