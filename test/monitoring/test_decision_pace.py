# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Decisions that come much more seldom than in calibration are told of."""

import pytest

from failure_monitor.monitoring.decision_pace import DecisionPace

pytestmark = pytest.mark.law(6)


def warning_after(gaps, longest=0.1, usual=0.0):
    pace, now = DecisionPace(longest, usual), 100.0
    for gap in (0.0, *gaps):
        now += gap
        pace.add(now)
    return pace.warning(now)


def test_one_of_fifteen_decisions_is_too_seldom():
    assert warning_after([0.05] * 100) == ""
    assert "up to 0.75 s after the one before, in calibration at most 0.1 s" in warning_after(
        [*[0.05] * 100, *[0.75] * 3]
    )


def test_a_busy_machine_and_a_slow_policy_are_not():
    assert warning_after([*[0.1] * 30, 0.6, *[0.1] * 30, 0.4]) == ""
    assert warning_after([3.3] * 30, longest=3.4) == ""
    assert warning_after([5.0] * 30, longest=0.0) == ""


def test_what_was_long_ago_and_before_a_rollout_does_not_count():
    assert warning_after([*[0.75] * 3, *[0.1] * 110]) == ""
    pace = DecisionPace(0.1)
    for now in (0.0, 0.75, 1.5, 2.25):
        pace.add(now)
    assert pace.warning(2.3)
    assert pace.warning(20.0) == ""
    pace.start_rollout()
    assert pace.warning(2.3) == ""
    pace.add(9.0)
    assert pace.warning(9.0) == ""


def test_a_decision_at_every_control_step_is_another_mode_than_one_for_every_chunk():
    assert "every 0.05 s, in calibration every 2.5 s" in warning_after(
        [0.05] * 20, longest=2.6, usual=2.5
    )
    assert warning_after([0.05] * 19, longest=2.6, usual=2.5) == ""
    assert warning_after([1.3] * 30, longest=2.6, usual=2.5) == ""
    # Twice as often is no other mode, however it jitters.
    assert warning_after([0.045, 0.055, 0.048] * 10, usual=0.1) == ""
    # A burst after a pause is none.
    assert warning_after([*[2.5] * 20, *[0.01] * 8], longest=2.6, usual=2.5) == ""
