# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Commanded against measured motion."""

import dataclasses

import numpy as np
import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.decision import InvalidDecisionError, Rollout
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.tracking import Tracking

EXECUTED = 2
DELTAS = dataclasses.replace(POLICY, executed_actions=EXECUTED)
POSITIONS = dataclasses.replace(DELTAS, action_kind="position")


def following(seed: int, *, gain: float = 0.8, noise: float = 0.05) -> Rollout:
    """A robot that carries out a share of each commanded delta."""
    random = np.random.default_rng(seed)
    rollout = synthetic_rollout(seed)
    chunks = random.normal(size=rollout.chunks.shape).astype(np.float32)
    commanded = chunks[:, 0, :EXECUTED, :2].sum(axis=1)
    moves = gain * commanded + noise * random.normal(size=commanded.shape)
    positions = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)[:-1]])
    return dataclasses.replace(rollout, chunks=chunks, positions=positions.astype(np.float32))


@pytest.fixture(scope="module")
def score():
    return Tracking.fit([following(seed) for seed in range(10)], DELTAS)


def test_it_learns_how_much_of_a_command_the_robot_carries_out(score):
    np.testing.assert_allclose(score.state().arrays["line"], [[0.8, 0.8], [0, 0]], atol=0.03)
    np.testing.assert_allclose(score.state().arrays["residual"], 0.05, rtol=0.2)


def test_it_is_about_1_for_a_robot_that_follows_and_large_for_one_that_is_stuck(score):
    assert np.nanmean(score.score_rollout(following(99)) ** 2) == pytest.approx(1, abs=0.5)
    assert np.nanmedian(score.score_rollout(following(99, gain=0))) > 10


def test_a_push_is_seen_at_the_decision_after_it(score):
    rollout = following(99)
    assert rollout.positions is not None
    pushed = rollout.positions.copy()
    pushed[6:] += 1
    difference = score.score_rollout(
        dataclasses.replace(rollout, positions=pushed)
    ) - score.score_rollout(rollout)
    assert np.nanargmax(np.abs(difference)) == 6


def test_positions_as_actions_are_compared_with_where_the_robot_is():
    random = np.random.default_rng(0)
    rollouts = []
    for seed in range(4):
        rollout = synthetic_rollout(seed)
        chunks = random.normal(size=rollout.chunks.shape).astype(np.float32)
        positions = np.zeros((len(rollout), 2))
        for index in range(1, len(rollout)):
            target = chunks[index - 1, 0, EXECUTED - 1, :2]
            positions[index] = positions[index - 1] + 0.5 * (target - positions[index - 1])
        rollouts.append(
            dataclasses.replace(rollout, chunks=chunks, positions=positions.astype(np.float32))
        )
    line = Tracking.fit(rollouts, POSITIONS).state().arrays["line"]
    np.testing.assert_allclose(line, [[0.5, 0.5], [0, 0]], atol=1e-5)


def test_units_of_the_measurement_do_not_matter(score):
    fitting = [following(seed) for seed in range(10)]
    metres = [dataclasses.replace(r, positions=r.positions * np.float32(0.01)) for r in fitting]
    np.testing.assert_allclose(
        Tracking.fit(metres, DELTAS).score_rollout(metres[3]),
        score.score_rollout(fitting[3]),
        rtol=1e-3,
    )


def test_a_dimension_that_never_moves_does_not_count():
    still = [
        dataclasses.replace(r, positions=r.positions * np.float32([1, 0]))
        for r in (following(seed) for seed in range(5))
    ]
    score = Tracking.fit(still, DELTAS)
    assert np.isinf(score.state().arrays["residual"]).tolist() == [False, True]
    assert np.isfinite(score.score_rollout(still[0])[1:]).all()


def test_rollouts_without_measured_positions_are_refused_by_name():
    without = dataclasses.replace(following(3), positions=None)
    with pytest.raises(ScoreUndefinedError, match="rollout 3 has no measured positions"):
        Tracking.fit([following(2), without], DELTAS)


def test_positions_that_never_change_are_refused():
    still = [dataclasses.replace(following(1), positions=np.zeros((12, 2), np.float32))]
    with pytest.raises(ScoreUndefinedError, match="never change"):
        Tracking.fit(still, DELTAS)


def test_a_decision_without_measured_positions_is_refused_from_the_first_on(score):
    first, *_ = following(1).decisions()
    score.start_rollout()
    with pytest.raises(InvalidDecisionError, match="which the score tracking needs"):
        score.update(dataclasses.replace(first, positions=None))


def test_a_rollout_without_measured_positions_is_refused_by_name(score):
    with pytest.raises(InvalidDecisionError, match="rollout 1 has no measured positions"):
        score.score_rollout(dataclasses.replace(following(1), positions=None))
