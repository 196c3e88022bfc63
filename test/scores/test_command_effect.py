# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the motion commanded so far had its usual result."""

import dataclasses

import numpy as np
import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.executed_actions import ExecutedActions
from failure_monitor.scores.base.ridge import ridge_leaving_out
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.command_effect import (
    BACK,
    RIDGE,
    CommandEffect,
    _commanded_places,
    _weights,
)

EXECUTED = 2
MOVING = dataclasses.replace(POLICY, executed_actions=EXECUTED)


def obedient_rollout(seed: int, *, stuck_from: int = 99, decisions: int = 20) -> Rollout:
    """Three features tell where the arm is, which goes as commanded; three are noise."""
    random = np.random.default_rng(seed)
    chunks = 0.3 * random.normal(size=(decisions, 1, 1, 3)) + np.zeros(POLICY.chunk_shape)
    moves = EXECUTED * chunks[:, 0, 0]
    moves[stuck_from:] = 0
    arm = np.cumsum(moves, axis=0) - moves + 0.05 * random.normal(size=moves.shape)
    other = random.normal(size=arm.shape)
    return dataclasses.replace(
        synthetic_rollout(seed, decisions=decisions),
        chunks=chunks.astype(np.float32),
        embeddings=np.concatenate([arm, other], axis=1).astype(np.float32),
    )


@pytest.fixture(scope="module")
def score():
    return CommandEffect.fit([obedient_rollout(seed) for seed in range(40)], MOVING)


def with_embeddings(rollout: Rollout, change: np.ndarray) -> Rollout:
    return dataclasses.replace(
        rollout, embeddings=(rollout.embeddings + change).astype(np.float32)
    )


def test_an_arm_that_does_as_told_has_residuals_of_about_1(score):
    usual = np.concatenate([score.score_rollout(obedient_rollout(seed)) for seed in range(90, 99)])
    assert np.sqrt(np.mean(usual**2)) == pytest.approx(1, abs=0.4)


def test_it_sees_an_arm_that_is_stuck_only_once_it_is(score):
    usual, stuck = obedient_rollout(99), obedient_rollout(99, stuck_from=8)
    difference = score.score_rollout(stuck) - score.score_rollout(usual)
    np.testing.assert_allclose(difference[:9], 0, atol=1e-9)
    assert np.median(difference[10:]) > 3


def test_features_that_commands_do_not_determine_do_not_count(score):
    rollout = obedient_rollout(99)
    usual = score.score_rollout(rollout)
    elsewhere = score.score_rollout(with_embeddings(rollout, np.array([2, 2, 2, 0, 0, 0])))
    unrelated = score.score_rollout(with_embeddings(rollout, np.array([0, 0, 0, 2, 2, 2])))
    assert np.median(elsewhere - usual) > 3
    np.testing.assert_allclose(unrelated, usual, rtol=0.01)


def test_what_is_not_executed_and_the_other_samples_do_not_count(score):
    rollout = obedient_rollout(99)
    chunks = rollout.chunks.copy()
    chunks[:, 1:] += 7
    chunks[:, 0, EXECUTED:] -= 7
    other = dataclasses.replace(rollout, chunks=chunks)
    np.testing.assert_array_equal(score.score_rollout(other), score.score_rollout(rollout))


def test_places_are_sums_of_deltas_and_velocities_and_the_latest_positions():
    chunks = np.zeros((3, 1, 3, 1), dtype=np.float32)
    chunks[:, 0, :, 0] = [[1, 2, 100], [10, 20, 100], [5, 5, 5]]
    rollout = dataclasses.replace(synthetic_rollout(0, decisions=3), chunks=chunks)
    moves = _commanded_places(rollout, executed=ExecutedActions(2), are_positions=False)
    np.testing.assert_array_equal(moves[:, 0], [0, 3, 33])
    positions = _commanded_places(rollout, executed=ExecutedActions(2), are_positions=True)
    np.testing.assert_array_equal(positions[:, 0], [1, 2, 20])


@pytest.mark.parametrize("kind", ["position", "velocity"])
def test_both_forms_agree_on_other_kinds_of_actions(kind):
    policy = dataclasses.replace(MOVING, action_kind=kind)
    score = CommandEffect.fit([synthetic_rollout(seed) for seed in range(8)], policy)
    rollout = synthetic_rollout(9)
    streamed = [score.update(decision) for decision in rollout.decisions()]
    np.testing.assert_array_equal(score.score_rollout(rollout), streamed)


def test_the_residuals_of_the_ridge_are_those_of_leaving_each_rollout_out():
    random = np.random.default_rng(0)
    inputs = [random.normal(size=(BACK + n, 4)) for n in range(6)]
    targets = [random.normal(size=(len(x), 2)) for x in inputs]
    left_out = []
    for place, (own, wanted) in enumerate(zip(inputs, targets, strict=True)):
        x = np.concatenate(inputs[:place] + inputs[place + 1 :])
        y = np.concatenate(targets[:place] + targets[place + 1 :])
        left_out.append(wanted - own @ np.linalg.solve(x.T @ x + RIDGE * np.eye(4), x.T @ y))
    _, residuals = ridge_leaving_out(inputs, targets, RIDGE)
    np.testing.assert_allclose(residuals, np.concatenate(left_out))


def test_weights_by_hand():
    np.testing.assert_allclose(_weights(np.array([1.0, 0.5, -3.0, 0.0])), [8 / 9, 1 / 9, 0, 0])


def test_a_model_that_predicts_nothing_weighs_nothing():
    assert _weights(np.array([-1.0, 0.0])).tolist() == [0.0, 0.0]


def test_embeddings_that_have_nothing_to_do_with_commands_are_refused():
    def unrelated(seed: int) -> Rollout:
        noise = np.random.default_rng(seed + 1000).normal(size=(20, 6))
        rollout = obedient_rollout(seed)
        return dataclasses.replace(rollout, embeddings=noise.astype(np.float32))

    with pytest.raises(ScoreUndefinedError, match="command_effect: the commands predict none"):
        CommandEffect.fit([unrelated(seed) for seed in range(8)], MOVING)


def test_rollouts_of_one_decision_are_refused():
    single = [obedient_rollout(seed, decisions=1) for seed in range(8)]
    with pytest.raises(ScoreUndefinedError, match=r"every rollout, .*, has a single"):
        CommandEffect.fit(single, MOVING)


def test_commands_that_never_move_are_refused():
    still = [
        dataclasses.replace(r, chunks=np.zeros_like(r.chunks))
        for r in map(obedient_rollout, range(8))
    ]
    with pytest.raises(ScoreUndefinedError, match="command_effect: the commanded places are the"):
        CommandEffect.fit(still, MOVING)
