# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Jerkiness of the executed chunk."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.kinematics import Kinematics

UNIT = Kinematics(indices=np.arange(1), are_positions=False, sizes=np.ones(1), scales=np.ones(2))


def rollout_of(*chunks: list[float]) -> Rollout:
    """One sample of one dimension at every decision."""
    actions = np.float32(chunks)[:, np.newaxis, :, np.newaxis]
    count = len(actions)
    return Rollout("by hand", np.arange(float(count)), np.zeros((count, 1), np.float32), actions)


def test_a_case_by_hand():
    # Velocities 1, −1, 2: jerk 2 − 2·(−1) + 1 = 5, variation (2 + 3)/2.
    (value,) = UNIT.score_rollout(rollout_of([1, -1, 2]))
    assert value == pytest.approx((5 + 2.5) / 2)
    # Velocities 0, 1, 3, 6: jerks 1 and 1, variation (1 + 2 + 3)/3.
    (value,) = UNIT.score_rollout(rollout_of([0, 1, 3, 6]))
    assert value == pytest.approx((1 + 2) / 2)


def test_a_bundle_of_an_older_version_counts_reversals_too():
    older = Kinematics(
        indices=np.arange(1), are_positions=False, sizes=np.ones(1), scales=np.ones(3)
    )
    (value,) = older.score_rollout(rollout_of([1, -1, 2]))
    assert value == pytest.approx((1 + 5 + 2.5) / 3)


def test_positions_are_differentiated_first():
    positions = Kinematics(
        indices=np.arange(1), are_positions=True, sizes=np.ones(1), scales=np.ones(2)
    )
    np.testing.assert_allclose(
        positions.score_rollout(rollout_of([5, 6, 5, 7])),
        UNIT.score_rollout(rollout_of([1, -1, 2])),
    )


@given(arrays(np.float32, 6, elements=st.floats(-9, 9, width=32)), st.floats(-3, 3, width=32))
def test_an_even_motion_has_none_and_the_direction_does_not_matter(actions, speed):
    assert UNIT.score_rollout(rollout_of([speed] * 6)).tolist() == [0]
    there, back = UNIT.score_rollout(rollout_of(actions.tolist(), (-actions).tolist()))
    assert there == pytest.approx(back)
    # Mirrored in time it is as jerky.
    (mirrored,) = UNIT.score_rollout(rollout_of(actions[::-1].tolist()))
    assert mirrored == pytest.approx(there, rel=1e-5, abs=1e-6)


def test_each_part_is_1_over_the_fitting_rollouts():
    rollouts = [synthetic_rollout(seed) for seed in range(5)]
    score = Kinematics.fit(rollouts, POLICY)
    values = np.concatenate([score.score_rollout(rollout) for rollout in rollouts])
    assert 0.5 < values.mean() <= 1


def test_other_samples_and_the_gripper_do_not_matter():
    rollouts = [synthetic_rollout(seed) for seed in range(5)]
    score = Kinematics.fit(rollouts, POLICY)
    chunks = rollouts[0].chunks.copy()
    chunks[:, 1:] += 5
    chunks[..., 2] *= -3
    changed = dataclasses.replace(rollouts[0], chunks=chunks)
    np.testing.assert_array_equal(score.score_rollout(changed), score.score_rollout(rollouts[0]))


def test_a_part_that_never_occurs_does_not_count():
    # Deltas that grow evenly: variation, but no jerk.
    growing = rollout_of(*([start, start + 1, start + 2, start + 3] for start in range(1, 5)))
    policy = dataclasses.replace(
        POLICY, samples=1, horizon=4, action_names=("dx",), position_names=()
    )
    score = Kinematics.fit([growing], policy)
    assert np.isinf(score.state().arrays["scales"]).tolist() == [True, False]
    np.testing.assert_allclose(score.score_rollout(growing), 1)
    assert math.isfinite(score.score_rollout(rollout_of([5, -5, 5, -5]))[0])


@pytest.mark.parametrize(("kind", "horizon"), [("delta", 2), ("velocity", 2), ("position", 3)])
def test_a_chunk_without_jerk_is_refused(kind, horizon):
    policy = dataclasses.replace(POLICY, action_kind=kind, horizon=horizon)
    rollouts = [
        dataclasses.replace(r, chunks=r.chunks[:, :, :horizon])
        for r in (synthetic_rollout(seed) for seed in range(3))
    ]
    with pytest.raises(ScoreUndefinedError, match=f"a chunk of {horizon} actions is too short"):
        Kinematics.fit(rollouts, policy)
