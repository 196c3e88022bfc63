# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How often the executed motion turns back."""

import dataclasses

import numpy as np
import pytest
from testbed.synthetic import POLICY

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.executed_actions import ExecutedActions
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.reversal_rate import ReversalRate


def rollout_of(*chunks, period=1.0):
    """One sample of one dimension at every decision."""
    actions = np.float32(chunks)[:, np.newaxis, :, np.newaxis]
    count = len(actions)
    stamps = period * np.arange(float(count))
    return Rollout("by hand", stamps, np.zeros((count, 1), np.float32), actions)


def unit(executed=2, *, are_positions=False, control_period=None):
    return ReversalRate(
        executed=ExecutedActions(executed, control_period),
        indices=np.arange(1),
        are_positions=are_positions,
        least=np.array([0.5]),
    )


def test_a_case_by_hand():
    # Executed are 1, −1, then 2, 3, then −4, −5: one change, one at the seam, and one more there.
    values = unit().score_rollout(rollout_of([1, -1, 9], [2, 3, 9], [-4, -5, 9], [6, 7, 9]))
    np.testing.assert_allclose(values, [np.nan, 1 / 2, 1 / 2, 1 / 2])


def test_positions_are_differentiated_over_decisions():
    # Executed one at a time, the positions 0, 1, 2, 1: the last one turns back.
    positions = unit(1, are_positions=True)
    values = positions.score_rollout(rollout_of([0, 9], [1, 9], [2, 9], [1, 9], [1, 9]))
    np.testing.assert_allclose(values, [np.nan, 0, 0, 0, 1])


def test_who_stands_and_trembles_does_not_turn_back():
    values = unit().score_rollout(rollout_of([1, 0.1], [-0.4, 0.4], [-0.4, 2], [1, 1]))
    np.testing.assert_allclose(values, [np.nan, 0, 0, 0])
    values = unit().score_rollout(rollout_of([1, 0.1], [-0.4, -2], [1, 1]))
    np.testing.assert_allclose(values, [np.nan, 0, 1 / 2])


def test_stamps_tell_what_was_executed():
    # Three actions of each chunk, by the time between decisions.
    score = unit(2, control_period=0.5)
    values = score.score_rollout(rollout_of([1, 1, -1, 1], [1, 1, 1, 1], period=1.5))
    np.testing.assert_allclose(values, [np.nan, 1 / 3])
    at_once = rollout_of([1, -1], [1, 1], period=0.1)
    assert np.isnan(score.score_rollout(at_once)).all()
    assert not score.defined(at_once).any()


def test_after_a_gap_nothing_is_known_of_what_was_executed():
    score = unit()
    first, second, third = rollout_of([1, 1], [-1, -1], [1, 1]).decisions()
    score.update(first)
    score.resume(2)
    assert not score.is_defined_for(second)
    assert np.isnan(score.update(second))
    assert score.is_defined_for(third)
    assert score.update(third) == 0


def test_a_robot_that_never_moves_is_refused():
    policy = dataclasses.replace(
        POLICY,
        samples=1,
        horizon=3,
        executed_actions=2,
        action_names=("dx",),
        position_names=(),
    )
    with pytest.raises(ScoreUndefinedError, match="no executed chunk ever moves"):
        ReversalRate.fit([rollout_of([0, 0, 1], [0, 0, 1])], policy)
