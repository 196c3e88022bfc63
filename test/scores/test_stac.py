# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Laws of the discrepancy between consecutive batches of action chunks."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.executed_actions import ExecutedActions
from failure_monitor.scores.stac import TemporalConsistency, discrepancy
from failure_monitor.scores.stac_single import SingleSampleConsistency

EXECUTED = 2
points = arrays(np.float32, (6, 3), elements=st.integers(-20, 20).map(lambda n: n / 4))


def textbook(x: np.ndarray, y: np.ndarray) -> float:
    """MMD² by its definition, in double precision."""
    both = np.concatenate([x, y]).astype(np.float64)
    squared = np.sum((both[:, np.newaxis] - both) ** 2, axis=-1)
    if not squared.any():
        return 0.0
    kernel = np.exp(-squared / (2 * np.median(squared[squared > 0])))
    n = len(x)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def rollout_of(chunks: np.ndarray) -> Rollout:
    return Rollout(
        "by hand",
        np.arange(len(chunks), dtype=np.float64),
        np.zeros((len(chunks), 1), np.float32),
        chunks.astype(np.float32),
    )


@given(points, points)
def test_it_is_what_the_textbook_says(x, y):
    assert discrepancy(x, y) == pytest.approx(textbook(x, y), abs=1e-5)


@given(points, points)
def test_it_is_symmetric_and_lies_between_0_and_2(x, y):
    assert discrepancy(x, y) == pytest.approx(discrepancy(y, x), abs=1e-6)
    assert 0 <= discrepancy(x, y) <= 2


@given(points, points, st.permutations(range(6)))
def test_the_order_of_samples_does_not_matter(x, y, order):
    assert discrepancy(x[order], y) == pytest.approx(discrepancy(x, y), abs=1e-6)


@given(points, st.permutations(range(6)))
def test_the_same_samples_have_none(x, order):
    assert discrepancy(x, x[order]) == pytest.approx(0, abs=1e-6)


@given(points, points, st.sampled_from([2.0**-12, 0.5, 64.0]))
def test_the_scale_does_not_matter(x, y, scale):
    scale = np.float32(scale)
    assert discrepancy(scale * x, scale * y) == pytest.approx(discrepancy(x, y), abs=1e-5)


def test_a_case_by_hand():
    # One point each: the median is their squared distance, k = exp(−1/2).
    apart = discrepancy(np.zeros((1, 1), np.float32), np.full((1, 1), 3, np.float32))
    assert apart == pytest.approx(2 - 2 * math.exp(-0.5))
    # {0, 0} and {0, 1}: the distances above 0 are all 1.
    near = np.float32([[0], [0]]), np.float32([[0], [1]])
    k = math.exp(-0.5)
    assert discrepancy(*near) == pytest.approx(1 + (1 + k) / 2 - (1 + k))


def test_points_that_coincide_far_from_0_are_at_no_distance():
    x = np.full((4, 2), 1000.1, np.float32)
    assert discrepancy(x, x) == 0
    y = x + np.float32(1)
    assert discrepancy(x, y) == pytest.approx(2 - 2 * math.exp(-0.5), abs=1e-4)


def test_only_the_overlap_counts():
    random = np.random.default_rng(0)
    plan = random.normal(size=(8, 7, 2))
    # Now what was planned before, two actions on, with an end that was not planned yet.
    chunks = np.stack([plan[:, :5], plan[:, 2:]])
    score = TemporalConsistency(executed=ExecutedActions(EXECUTED), weights=np.ones(2, np.float32))
    assert score.score_rollout(rollout_of(chunks))[1] == pytest.approx(0, abs=1e-6)
    chunks[1, :, :3] += 2
    assert score.score_rollout(rollout_of(chunks))[1] > 0.5


def test_a_single_sample_that_goes_on_as_planned_is_consistent():
    plan = np.random.default_rng(0).normal(size=(8, 7, 2))
    chunks = np.stack([plan[:, :5], plan[:, 2:]])
    score = SingleSampleConsistency(
        executed=ExecutedActions(EXECUTED), weights=np.ones(2, np.float32)
    )
    assert score.score_rollout(rollout_of(chunks)).tolist() == [
        pytest.approx(math.nan, nan_ok=True),
        0,
    ]
    # The first of three overlapping actions is 5 away, by Pythagoras: 5/3 on average.
    chunks[1, 0, 0] += np.float32([3, 4])
    chunks[1, 1:] += 100
    assert score.score_rollout(rollout_of(chunks))[1] == pytest.approx(5 / 3, rel=1e-6)


@pytest.mark.parametrize("score", [TemporalConsistency, SingleSampleConsistency])
def test_units_do_not_matter(score):
    policy = dataclasses.replace(POLICY, executed_actions=EXECUTED)
    rollouts = [synthetic_rollout(seed) for seed in range(4)]
    units = np.float32([1000, 0.001, 1])
    converted = [dataclasses.replace(r, chunks=r.chunks * units) for r in rollouts]
    np.testing.assert_allclose(
        score.fit(converted, policy).score_rollout(converted[0]),
        score.fit(rollouts, policy).score_rollout(rollouts[0]),
        rtol=1e-3,
    )


@pytest.mark.parametrize("score", [TemporalConsistency, SingleSampleConsistency])
def test_an_action_that_never_changes_has_no_weight(score):
    policy = dataclasses.replace(POLICY, executed_actions=EXECUTED)
    rollouts = [synthetic_rollout(seed) for seed in range(4)]
    still = [dataclasses.replace(r, chunks=r.chunks * np.float32([1, 1, 0])) for r in rollouts]
    assert score.fit(still, policy).state().arrays["weights"][2] == 0


@pytest.mark.law(7)
def test_one_sample_far_off_does_not_hide_that_the_others_changed_their_minds():
    random = np.random.default_rng(0)
    before, now = (
        (at + 1e-3 * random.normal(size=(16, 4))).astype(np.float32) for at in (0.0, 0.05)
    )
    changed = discrepancy(before, now)
    assert changed > 0.5
    before[0] = now[0] = 300.0
    assert discrepancy(before, now) > 0.8 * changed


@pytest.mark.law(7)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_distances_that_overflow_are_no_agreement():
    near = np.full((16, 4), 3, np.float32)
    near[:8] *= -1
    far = near * np.float32(1e38)
    half = np.float32(0.5)
    assert discrepancy(far, half * far) == pytest.approx(discrepancy(near, half * near), rel=1e-4)
    assert np.isnan(discrepancy(np.full((16, 4), np.inf, np.float32), far))
