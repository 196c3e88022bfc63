# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Laws of the entropy of sampled action chunks."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.scores.ace import CELL_FACTOR, ActionChunkEntropy
from failure_monitor.scores.ace_per_dimension import ActionChunkEntropyPerDimension
from failure_monitor.scores.base.score import ScoreUndefinedError

POSITIONS = PolicyFormat(
    embedding_size=1, samples=8, horizon=3, action_names=("x", "y"), action_kind="position"
)
CELL = 1.0
chunk_batches = arrays(
    np.float32, (8, 3, 2), elements=st.floats(-20, 20, width=32, allow_subnormal=False)
)


def decision(chunks: np.ndarray) -> Decision:
    return Decision(0, np.zeros(1, np.float32), chunks.astype(np.float32))


def grid(integrate: bool = False) -> ActionChunkEntropy:
    return ActionChunkEntropy(
        anchor=np.zeros(2), cell=np.full(2, CELL), indices=np.arange(2), integrate=integrate
    )


@given(chunk_batches)
def test_it_lies_between_0_and_log2_of_the_samples(chunks):
    assert -1e-12 <= grid().update(decision(chunks)) <= math.log2(8) + 1e-12


@given(chunk_batches, st.permutations(range(8)))
def test_the_order_of_samples_does_not_matter(chunks, order):
    assert grid().update(decision(chunks[order])) == pytest.approx(grid().update(decision(chunks)))


@given(chunk_batches, st.integers(-50, 50), st.integers(-50, 50))
def test_a_shift_by_whole_cells_does_not_matter(chunks, right, up):
    cells = np.floor(chunks) + 0.5
    shifted = cells + np.array([right, up]) * CELL
    assert grid().update(decision(shifted)) == pytest.approx(grid().update(decision(cells)))


@given(chunk_batches)
def test_identical_samples_have_none(chunks):
    same = np.broadcast_to(chunks[:1], chunks.shape)
    assert grid().update(decision(same)) == pytest.approx(0, abs=1e-12)


@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.booleans())
def test_it_is_that_of_the_cells_in_any_number_of_dimensions(dimensions, seed, integrate):
    # Few cells a dimension, some of them far away: samples share all, some or none of them.
    random = np.random.default_rng(seed)
    chunks = random.choice(
        [-3e4, 0.5, 1.5, 7e5], p=[0.05, 0.6, 0.3, 0.05], size=(8, 3, dimensions)
    )
    chunks *= random.random(dimensions) < 0.5
    score = ActionChunkEntropy(
        anchor=np.zeros(dimensions),
        cell=np.full(dimensions, CELL),
        indices=np.arange(dimensions),
        integrate=integrate,
    )
    cells = np.floor(np.cumsum(chunks, axis=1) if integrate else chunks)
    counts = [Counter(map(tuple, cells[:, step])).values() for step in range(3)]
    expected = np.mean([sum(-n / 8 * math.log2(n / 8) for n in step) for step in counts])
    assert score.update(decision(chunks)) == pytest.approx(expected, abs=1e-9)


def test_samples_that_never_share_a_cell_have_all_of_it():
    apart = np.arange(8)[:, np.newaxis, np.newaxis] * np.full((8, 3, 2), 10.0)
    assert grid().update(decision(apart)) == pytest.approx(3.0)


def test_a_case_by_hand():
    # Step 1: cells {0: 4, 1: 4}, 1 bit. Steps 2 and 3: {0: 6, 5: 2}, 0.811 bits.
    chunks = np.zeros((8, 3, 2))
    chunks[4:, 0, 0] = 1.5
    chunks[6:, 1:, 1] = 5.5
    quarter = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert grid().update(decision(chunks)) == pytest.approx((1 + 2 * quarter) / 3)


def test_deltas_are_summed_up_before_they_are_compared():
    # Both halves do the same step, at different times: positions differ at step 1 only.
    chunks = np.zeros((8, 3, 2))
    chunks[:4, 0, 0] = 5.0
    chunks[4:, 1, 0] = 5.0
    assert grid(integrate=True).update(decision(chunks)) == pytest.approx(1 / 3)
    assert grid(integrate=False).update(decision(chunks)) == pytest.approx(2 / 3)


@pytest.mark.law(7)
@pytest.mark.parametrize("size", [1e9, 1e18, 1e30, 3e38])
def test_samples_too_far_off_to_be_told_apart_agree_with_none(size):
    chunks = np.zeros((8, 3, 2))
    chunks[:4] = size
    own = 4 / 8 * np.log2(8) + 4 / 8 * np.log2(8 / 4)
    assert grid().update(decision(chunks)) == pytest.approx(own)
    chunks[:] = -size
    assert grid().update(decision(chunks)) == pytest.approx(np.log2(8))


def test_both_forms_agree(rollouts, policy):
    score = ActionChunkEntropy.fit(rollouts, policy)
    streamed = [score.update(decision) for decision in rollouts[0].decisions()]
    np.testing.assert_allclose(score.score_rollout(rollouts[0]), streamed, atol=1e-9)
    assert max(streamed) > 0


def test_the_grid_spans_the_position_dimensions_of_the_fitting_rollouts(rollouts, policy):
    state = ActionChunkEntropy.fit(rollouts, policy).state()
    reached = np.concatenate([np.cumsum(r.chunks[..., :2], axis=2) for r in rollouts])
    span = reached.max(axis=(0, 1, 2)) - reached.min(axis=(0, 1, 2))
    np.testing.assert_allclose(state.arrays["cell"], CELL_FACTOR * span, rtol=1e-5)
    assert state.arrays["indices"].tolist() == [0, 1]


def test_a_dimension_that_never_moves_takes_the_largest_range(rollouts, policy):
    still = [dataclasses.replace(r, chunks=r.chunks * np.float32([1, 0, 1])) for r in rollouts]
    cell = ActionChunkEntropy.fit(still, policy).state().arrays["cell"]
    assert cell[0] == cell[1]


def test_a_stored_score_is_the_same_score(rollouts, policy):
    score = ActionChunkEntropy.fit(rollouts, policy)
    again = ActionChunkEntropy.from_state(score.state())
    np.testing.assert_array_equal(
        again.score_rollout(rollouts[1]), score.score_rollout(rollouts[1])
    )


def test_a_deterministic_policy_is_refused(rollouts, policy):
    same = [
        dataclasses.replace(r, chunks=np.broadcast_to(r.chunks[:, :1], r.chunks.shape))
        for r in rollouts
    ]
    with pytest.raises(ScoreUndefinedError, match="deterministic"):
        ActionChunkEntropy.fit(same, policy)


def test_one_sample_per_decision_is_refused(rollouts, policy):
    single = [dataclasses.replace(r, chunks=r.chunks[:, :1]) for r in rollouts]
    with pytest.raises(ScoreUndefinedError, match="one action chunk per decision"):
        ActionChunkEntropy.fit(single, dataclasses.replace(policy, samples=1))


def test_fitting_takes_rollouts_of_different_lengths(policy, rollouts):
    short = Rollout(
        "short", rollouts[0].stamps[:1], rollouts[0].embeddings[:1], rollouts[0].chunks[:1]
    )
    assert ActionChunkEntropy.fit([short, rollouts[1]], policy).score_rollout(short).shape == (1,)


def per_dimension() -> ActionChunkEntropyPerDimension:
    return ActionChunkEntropyPerDimension(
        anchor=np.zeros(2), cell=np.full(2, CELL), indices=np.arange(2), integrate=False
    )


@given(chunk_batches, st.permutations(range(8)))
def test_per_dimension_it_lies_between_the_joint_entropy_and_its_multiple(chunks, order):
    # Subadditive: what dimensions share is counted once jointly, and each time singly.
    value = per_dimension().update(decision(chunks))
    assert grid().update(decision(chunks)) - 1e-9 <= value <= 2 * math.log2(8) + 1e-9
    assert per_dimension().update(decision(chunks[order])) == pytest.approx(value)


def test_per_dimension_by_hand():
    # Step 1: x 4 of 8 apart, y all the same: 1 + 0 bits. Steps 2 and 3: both split the same way.
    chunks = np.zeros((8, 3, 2))
    chunks[4:, 0, 0] = 1.5
    chunks[4:, 1:] = 5.5
    assert per_dimension().update(decision(chunks)) == pytest.approx((1 + 2 + 2) / 3)
    assert grid().update(decision(chunks)) == pytest.approx(1)
