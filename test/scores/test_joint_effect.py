# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What joints did, against what state, commands and embedding let expect."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from testbed.moving_rollouts import JOINTS, MOVING, moving_rollout
from testbed.synthetic import synthetic_rollout

from failure_monitor.decision import InvalidDecisionError, Rollout
from failure_monitor.joint_motion import JointMotion
from failure_monitor.scores.base import joint_residual
from failure_monitor.scores.base.joint_residual import (
    RIDGE,
    JointResidual,
    _Fitted,
    _ridge,
    _weights,
)
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.base.standardisation import Standardisation
from failure_monitor.scores.gripper_effect import GripperEffect
from failure_monitor.scores.joint_effect import JointEffect

EXECUTED = 2
both_scores = pytest.mark.parametrize("kind", [JointEffect, GripperEffect])


def driven_rollout(
    seed: int, *, arm_stuck_from: int = 99, gripper_slips_at: int = 99, decisions: int = 20
) -> Rollout:
    """Joints go where each command sends them, with efforts to match; so does the gripper."""
    random = np.random.default_rng(seed)
    chunks = 0.3 * random.normal(size=(decisions, 1, 1, 3)) + np.zeros(MOVING.chunk_shape)
    moves = chunks[:, 0, 0] * EXECUTED
    arm, grip = moves[:, :2].copy(), moves[:, 2:].copy()
    arm[arm_stuck_from:] = 0
    grip[gripper_slips_at : gripper_slips_at + 1] = 3
    moved = np.concatenate([np.zeros((1, 3)), np.concatenate([arm, grip], axis=1)[:-1]])
    positions = np.cumsum(moved, axis=0) + 0.02 * random.normal(size=moved.shape)
    efforts = 5 * moved[:, :2] + 0.1 * random.normal(size=(decisions, 2))
    states = np.concatenate([positions[:, :2], efforts, positions[:, 2:]], axis=1)
    means = np.concatenate([positions[:, :2] - moved[:, :2] / 2, efforts, positions[:, 2:]], 1)
    means[0] = np.nan
    return dataclasses.replace(
        synthetic_rollout(seed, decisions=decisions),
        chunks=chunks.astype(np.float32),
        joints=JointMotion(JOINTS, states, means),
    )


def with_joints(rollout: Rollout, **changes: object) -> Rollout:
    assert rollout.joints is not None
    return dataclasses.replace(rollout, joints=dataclasses.replace(rollout.joints, **changes))


COMMANDS = ("linear.x", "linear.y", "gripper")


def gated_rollout(seed: int, **changes: int) -> Rollout:
    """The same joints, of a policy that asks for more than a gate lets through, which varies."""
    rollout = driven_rollout(seed, **changes)
    sent = np.full((len(rollout), 3), np.nan)
    sent[1:] = rollout.chunks[:-1, 0, :EXECUTED].mean(axis=1)
    scale = np.random.default_rng([seed, 1]).uniform(0.1, 1.0, (len(rollout), 1, 1, 1))
    asked = dataclasses.replace(rollout, chunks=(rollout.chunks / scale).astype(np.float32))
    return with_joints(asked, command_names=COMMANDS, commands=sent)


def without_commands(rollout: Rollout) -> Rollout:
    return with_joints(rollout, command_names=(), commands=None)


def only(rollout: Rollout, names: tuple[str, ...]) -> Rollout:
    assert rollout.joints is not None
    return dataclasses.replace(rollout, joints=rollout.joints.select(names))


@pytest.fixture(scope="module")
def rollouts():
    return [driven_rollout(seed) for seed in range(30)]


@pytest.fixture(scope="module")
def joint_effect(rollouts):
    return JointEffect.fit(rollouts, MOVING)


@pytest.fixture(scope="module")
def gripper_effect(rollouts):
    return GripperEffect.fit(rollouts, MOVING)


def test_joints_that_do_as_told_have_residuals_of_about_1(joint_effect, gripper_effect):
    for score in (joint_effect, gripper_effect):
        usual = np.concatenate([score.score_rollout(driven_rollout(s)) for s in range(90, 99)])
        assert np.sqrt(np.nanmean(usual**2)) == pytest.approx(1, abs=0.4)


def test_it_sees_an_arm_that_is_stuck_only_once_it_is(joint_effect, gripper_effect):
    usual, stuck = driven_rollout(99), driven_rollout(99, arm_stuck_from=8)
    difference = joint_effect.score_rollout(stuck) - joint_effect.score_rollout(usual)
    np.testing.assert_allclose(difference[1:9], 0, atol=1e-9)
    assert np.median(difference[9:]) > 3
    gripper = gripper_effect.score_rollout(stuck) - gripper_effect.score_rollout(usual)
    assert np.abs(gripper[9:]).max() < 1


def test_it_sees_a_gripper_that_slips_at_the_decision_after_it(gripper_effect):
    usual, slips = driven_rollout(99), driven_rollout(99, gripper_slips_at=8)
    difference = gripper_effect.score_rollout(slips) - gripper_effect.score_rollout(usual)
    assert np.nanargmax(difference) == 9
    assert difference[9] > 5


def test_one_joint_that_is_far_off_counts_more_than_all_that_are_slightly(joint_effect):
    rollout = driven_rollout(99)
    sizes = joint_effect.state().arrays["residual"][0]
    deviation = joint_effect.state().arrays["change_deviation"]

    def shifted(joints: slice, residuals: float) -> float:
        means, states = rollout.joints.means.copy(), rollout.joints.states
        means[10, joints] += residuals * (sizes * deviation)[joints]
        return joint_effect.score_rollout(with_joints(rollout, means=means, states=states))[10]

    assert shifted(slice(2, 3), 8.0) > shifted(slice(0, 5), 4.0)


def test_what_is_not_executed_and_the_other_samples_do_not_count(joint_effect):
    rollout = driven_rollout(99)
    chunks = rollout.chunks.copy()
    chunks[:, 1:] += 7
    chunks[:, 0, EXECUTED:] -= 7
    np.testing.assert_array_equal(
        joint_effect.score_rollout(dataclasses.replace(rollout, chunks=chunks)),
        joint_effect.score_rollout(rollout),
    )


def test_joints_in_another_order_are_the_same(joint_effect):
    rollout = driven_rollout(99)
    np.testing.assert_array_equal(
        joint_effect.score_rollout(only(rollout, JOINTS[::-1])),
        joint_effect.score_rollout(rollout),
    )


@pytest.mark.parametrize(
    "names", [JOINTS[:2], ("x/position", "y/position", "gripper/position"), JOINTS[2:4]]
)
def test_what_the_robot_has_is_enough(rollouts, names):
    score = JointEffect.fit([only(rollout, names) for rollout in rollouts], MOVING)
    assert score.joint_quantities == names
    stuck = only(driven_rollout(99, arm_stuck_from=8), names)
    assert np.median(score.score_rollout(stuck)[9:]) > 3 * np.median(
        score.score_rollout(only(driven_rollout(99), names))[1:]
    )


def test_velocities_inform_and_are_not_predicted(rollouts):
    def named(rollout: Rollout) -> Rollout:
        return with_joints(rollout, names=("x/position", "y/position", "x/velocity", "y/velocity"))

    four = [named(only(rollout, JOINTS[:4])) for rollout in rollouts]
    state = JointEffect.fit(four, MOVING).state()
    assert state.arrays["targets"].tolist() == [0, 1]
    assert state.arrays["residual"].shape == (1, 2)


def test_a_state_stands_in_where_no_mean_is_known(rollouts):
    def without_mean(rollout: Rollout) -> Rollout:
        means = rollout.joints.means.copy()
        means[:, 4] = np.nan
        return with_joints(rollout, means=means)

    score = GripperEffect.fit([without_mean(rollout) for rollout in rollouts], MOVING)
    slips = without_mean(driven_rollout(99, gripper_slips_at=8))
    assert np.nanargmax(score.score_rollout(slips)) == 9


def test_it_works_without_an_embedding(rollouts):
    def blind(rollout: Rollout) -> Rollout:
        return dataclasses.replace(rollout, embeddings=rollout.embeddings[:, :0])

    policy = dataclasses.replace(MOVING, embedding_size=0)
    score = JointEffect.fit([blind(rollout) for rollout in rollouts], policy)
    stuck = score.score_rollout(blind(driven_rollout(99, arm_stuck_from=8)))
    assert np.median(stuck[9:]) > 3
    restored = JointEffect.from_state(score.state())
    np.testing.assert_array_equal(
        restored.score_rollout(blind(rollouts[0])), score.score_rollout(blind(rollouts[0]))
    )


def test_a_decision_at_which_a_quantity_is_not_known_has_no_score(joint_effect):
    rollout = driven_rollout(99)
    means = rollout.joints.means.copy()
    means[6, 3] = np.nan
    lost = with_joints(rollout, means=means)
    assert np.flatnonzero(np.isnan(joint_effect.score_rollout(lost))).tolist() == [0, 6]
    np.testing.assert_array_equal(
        joint_effect.defined(lost), ~np.isnan(joint_effect.score_rollout(lost))
    )
    joint_effect.start_rollout()
    streamed = []
    for decision in lost.decisions():
        assert joint_effect.is_defined_for(decision) == (len(streamed) not in (0, 6))
        streamed.append(joint_effect.update(decision))
    np.testing.assert_array_equal(streamed, joint_effect.score_rollout(lost))


def test_rollouts_in_which_some_values_were_lost_still_teach(rollouts):
    means = rollouts[0].joints.means.copy()
    means[5:9] = np.nan
    score = JointEffect.fit([with_joints(rollouts[0], means=means), *rollouts[1:]], MOVING)
    assert np.isfinite(score.score_rollout(rollouts[2])[1:]).all()


def test_a_decision_after_one_that_was_not_seen_has_no_score(joint_effect):
    first, _, third, *_ = driven_rollout(3).decisions()
    joint_effect.start_rollout()
    joint_effect.update(first)
    joint_effect.resume(2)
    assert not joint_effect.is_defined_for(third)
    assert np.isnan(joint_effect.update(third))


@both_scores
def test_behind_a_gate_that_slows_what_was_sent_tells_more_than_what_was_asked(kind):
    rollouts = [gated_rollout(seed) for seed in range(30)]
    usual, wrong = gated_rollout(50), gated_rollout(50, arm_stuck_from=5, gripper_slips_at=5)
    sent = kind.fit(rollouts, MOVING)
    assert sent.command_names == COMMANDS
    asked = kind.fit([*map(without_commands, rollouts)], MOVING)
    assert asked.command_names == ()

    def rise(score: JointResidual, what: Callable[[Rollout], Rollout]) -> float:
        return score.score_rollout(what(wrong))[6] / score.score_rollout(what(usual))[1:].max()

    assert rise(sent, lambda rollout: rollout) > 1.5 * rise(asked, without_commands)
    restored = kind.from_state(sent.state())
    assert restored.command_names == COMMANDS
    np.testing.assert_array_equal(restored.score_rollout(wrong), sent.score_rollout(wrong))


def test_commands_count_by_their_names_and_a_step_without_one_has_no_score():
    rollouts = [gated_rollout(seed) for seed in range(10)]
    score, rollout = JointEffect.fit(rollouts, MOVING), rollouts[3]
    scores = score.score_rollout(rollout)
    turned = with_joints(
        rollout, command_names=COMMANDS[::-1], commands=rollout.joints.commands[:, ::-1]
    )
    np.testing.assert_array_equal(score.score_rollout(turned), scores)
    silent = rollout.joints.commands.copy()
    silent[4] = np.nan
    stopped = with_joints(rollout, commands=silent)
    live = [(score.is_defined_for(each), score.update(each)) for each in stopped.decisions()]
    np.testing.assert_array_equal(score.defined(stopped), [is_defined for is_defined, _ in live])
    expected = np.where(np.arange(len(rollout)) == 4, np.nan, scores)
    np.testing.assert_array_equal([value for _, value in live], expected)


def test_commands_that_differ_from_those_of_calibration_are_refused():
    rollouts = [gated_rollout(seed) for seed in range(10)]
    with pytest.raises(ScoreUndefinedError) as differ:
        JointEffect.fit([rollouts[0], without_commands(rollouts[1])], MOVING)
    assert "in rollout 0 are linear.x, linear.y, gripper, and in rollout 1 none" in str(
        differ.value
    )
    score = JointEffect.fit(rollouts, MOVING)
    first, *_ = without_commands(rollouts[0]).decisions()
    with pytest.raises(InvalidDecisionError, match="the commands as sent are not known"):
        score.update(first)
    fewer = with_joints(
        rollouts[0], command_names=COMMANDS[:2], commands=rollouts[0].joints.commands[:, :2]
    )
    with pytest.raises(InvalidDecisionError, match="the commands as sent lack gripper; they have"):
        score.score_rollout(fewer)


@both_scores
def test_rollouts_without_joints_are_refused_by_name(rollouts, kind):
    without = dataclasses.replace(rollouts[1], joints=None)
    with pytest.raises(ScoreUndefinedError, match=f"{kind.name}: .* in rollout 1 is not known"):
        kind.fit([rollouts[0], without], MOVING)


@both_scores
def test_rollouts_whose_joints_differ_are_refused_by_name(rollouts, kind):
    fewer = only(rollouts[1], JOINTS[1:])
    with pytest.raises(ScoreUndefinedError) as refused:
        kind.fit([rollouts[0], fewer], MOVING)
    assert str(refused.value).startswith(
        f"{kind.name}: only rollout 0 gives {JOINTS[0]} of its joints: record the same"
    )


def test_joints_without_a_gripper_are_refused(rollouts):
    arm = [only(rollout, JOINTS[:4]) for rollout in rollouts]
    with pytest.raises(ScoreUndefinedError, match="no position or effort of a gripper"):
        GripperEffect.fit(arm, MOVING)


def test_joints_that_never_move_are_refused():
    still = [
        with_joints(
            rollout,
            states=np.zeros_like(rollout.joints.states),
            means=0 * rollout.joints.means,
        )
        for rollout in map(driven_rollout, range(5))
    ]
    with pytest.raises(ScoreUndefinedError, match="joint_effect: the changes of x/position"):
        JointEffect.fit(still, MOVING)


def test_joints_that_are_never_all_known_are_refused(rollouts):
    def never(rollout: Rollout) -> Rollout:
        means = rollout.joints.means.copy()
        means[::2, 0] = np.nan
        means[1::2, 1] = np.nan
        return with_joints(rollout, means=means)

    with pytest.raises(ScoreUndefinedError, match="stated less often than the policy decides"):
        JointEffect.fit([never(rollout) for rollout in rollouts], MOVING)


@both_scores
def test_a_decision_without_the_joints_is_refused(rollouts, kind):
    score = kind.fit(rollouts, MOVING)
    first, *_ = rollouts[0].decisions()
    with pytest.raises(InvalidDecisionError, match=f"which the score {kind.name} needs"):
        score.update(dataclasses.replace(first, joints=None))
    fewer = dataclasses.replace(first, joints=first.joints.select(JOINTS[:2]))
    with pytest.raises(InvalidDecisionError, match=f"score {kind.name}: the joints lack x/effort"):
        score.update(fewer)


@pytest.mark.parametrize(
    ("quantity", "counts"),
    [
        ("gripper/position", True),
        ("panda_finger_joint1/position", True),
        ("robotiq_85_left_knuckle_joint/effort", True),
        ("Jaw/position", True),
        ("panda_joint1/position", False),
        ("elbow/gripper", False),
    ],
)
def test_a_gripper_is_known_by_its_name(quantity, counts):
    assert GripperEffect.counts(quantity) == counts


def test_the_residuals_of_the_ridge_are_those_of_leaving_each_rollout_out():
    random = np.random.default_rng(0)
    known = [
        [(random.normal(size=4), random.normal(size=2)) for _ in range(3 + n)] for n in range(6)
    ]
    change = Standardisation(np.arange(2), np.zeros(2), np.ones(2))
    left_out = []
    for place, own in enumerate(known):
        others = [step for other, steps in enumerate(known) if other != place for step in steps]
        x, y = (np.array(part) for part in zip(*others, strict=True))
        fitted = np.linalg.solve(x.T @ x + RIDGE * np.eye(4), x.T @ y)
        left_out.extend(changed - seen @ fitted for seen, changed in own)
    np.testing.assert_allclose(_ridge(known, change).residuals, left_out)


def test_quantities_that_err_together_share_their_weight():
    random = np.random.default_rng(0)
    shared, alone = random.normal(size=(2, 10_000))
    residuals = np.stack([shared, shared, alone, alone], axis=1)
    fitted = _Fitted(np.empty(0), residuals, np.ones(4), np.array([0.8, 0.8, 0.8, -1.0]))
    np.testing.assert_allclose(_weights(fitted), [1 / 3, 1 / 3, 1 / 3, 0], atol=0.02)
    nothing = dataclasses.replace(fitted, determination=-np.ones(4))
    assert _weights(nothing).tolist() == [0.0] * 4


def test_joints_that_nothing_predicts_are_refused(monkeypatch):
    monkeypatch.setattr(joint_residual, "_weights", lambda fitted: np.zeros(len(fitted.sizes)))
    with pytest.raises(ScoreUndefinedError, match="joint_effect: nothing predicts what the"):
        JointEffect.fit([moving_rollout(seed) for seed in range(10)], MOVING)


def test_the_scores_of_a_robot_that_moves_say_which_joints_they_need():
    rollouts = [moving_rollout(seed) for seed in range(10)]
    for kind in (JointEffect, GripperEffect):
        score = kind.fit(rollouts, MOVING)
        assert score.needs_joints
        assert score.joint_quantities == JOINTS
