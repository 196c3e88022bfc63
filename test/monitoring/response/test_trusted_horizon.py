# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The trusted horizon: where samples begin to disagree, and how rarely it cuts a good rollout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.monitoring.response.trusted_horizon import (
    Dispersion,
    TrustedHorizon,
    calibrate_limit,
)
from failure_monitor.scores.base.reached_positions import ReachedPositions
from failure_monitor.scores.base.score import ScoreUndefinedError

SAMPLES, HORIZON = 32, 8
PLANE = PolicyFormat(2, SAMPLES, HORIZON, ("x", "y", "grip"), "position", ("x", "y"))
LEADING = 3


def fan(widths: np.ndarray, seed: int = 0) -> np.ndarray:
    """Chunks (B, H, 3) whose samples have these standard deviations (H,) in x and in y."""
    rng = np.random.default_rng(seed)
    chunks = rng.normal(size=(SAMPLES, len(widths), 3))
    chunks = (chunks - chunks.mean(axis=0)) / chunks.std(axis=0)
    return (chunks * widths[:, np.newaxis] + 5.0).astype(np.float32)


def rollout_of(fans: list[np.ndarray]) -> Rollout:
    count = len(fans)
    embeddings = np.zeros((count, 2), dtype=np.float32)
    return Rollout("fans", np.arange(float(count)), embeddings, np.stack(fans))


@pytest.fixture
def dispersion() -> Dispersion:
    return Dispersion(ReachedPositions.of(PLANE), np.array([1.0, 1.0]), LEADING)


def test_the_horizon_ends_before_the_first_action_that_the_samples_disagree_on(dispersion):
    widths = np.array([0.5, 0.9, 1.1, 0.2, 0.2, 0.2, 0.2, 0.2])
    assert TrustedHorizon(dispersion, limit=1.0)(fan(widths)) == 2
    assert TrustedHorizon(dispersion, limit=0.4)(fan(widths)) == 0
    assert TrustedHorizon(dispersion, limit=2.0)(fan(widths)) == HORIZON


def test_dispersion_is_what_the_formula_says(dispersion):
    widths = np.linspace(0.1, 2.0, HORIZON)
    np.testing.assert_allclose(dispersion(fan(widths)), widths, rtol=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_dispersion_of_deltas_is_that_of_their_sums(seed):
    rng = np.random.default_rng(seed)
    chunks = (100 * rng.normal(size=3) + rng.normal(size=(16, 5, 3))).astype(np.float32)
    usual = rng.uniform(0.1, 2.0, size=2)
    dispersion = Dispersion(ReachedPositions.of(POLICY), usual, 2)
    textbook = np.cumsum(chunks[..., :2].astype(np.float64), axis=1).std(axis=0) / usual
    np.testing.assert_allclose(
        dispersion(chunks), np.sqrt((textbook**2).mean(axis=1)), rtol=2e-3, atol=1e-3
    )


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 3.0), st.floats(1.0, 3.0))
def test_a_higher_limit_never_trusts_less_and_wider_samples_never_more(seed, limit, factor):
    rng = np.random.default_rng(seed)
    dispersion = Dispersion(ReachedPositions.of(PLANE), np.array([1.0, 1.0]), LEADING)
    chunks = rng.normal(size=(SAMPLES, HORIZON, 3)).astype(np.float32)
    horizon = TrustedHorizon(dispersion, limit)(chunks)
    assert 0 <= horizon <= HORIZON
    assert TrustedHorizon(dispersion, limit * factor)(chunks) >= horizon
    wider = np.float32(factor) * chunks
    assert TrustedHorizon(dispersion, limit)(wider) <= horizon


def test_chunks_that_are_nan_are_trusted_for_no_action(dispersion):
    chunks = fan(np.full(HORIZON, 0.1))
    chunks[3] = np.nan
    assert TrustedHorizon(dispersion, limit=1.0)(chunks) == 0


def test_usual_is_the_dispersion_at_the_last_leading_action():
    widths = np.array([0.1, 0.2, 0.5, 3.0, 3.0, 3.0, 3.0, 3.0])
    dispersion = Dispersion.fit([rollout_of([fan(widths)])], PLANE, LEADING)
    np.testing.assert_allclose(dispersion.usual, [0.5, 0.5], rtol=1e-4)


def test_a_dimension_that_never_disperses_is_measured_by_the_others():
    chunks = fan(np.full(HORIZON, 0.5))
    chunks[..., 1] = 5.0
    dispersion = Dispersion.fit([rollout_of([chunks])], PLANE, LEADING)
    np.testing.assert_allclose(dispersion.usual, [0.5, 0.005], rtol=1e-4)


def test_samples_that_never_differ_are_refused_with_the_reason():
    chunks = np.ones((SAMPLES, HORIZON, 3), dtype=np.float32)
    with pytest.raises(ScoreUndefinedError, match="the trusted horizon: all sampled chunks"):
        Dispersion.fit([rollout_of([chunks])], PLANE, LEADING)


def test_the_largest_dispersion_of_a_rollout_is_over_its_leading_actions():
    quiet, wide = np.full(HORIZON, 0.1), np.full(HORIZON, 0.1)
    wide[LEADING - 1] = 0.7
    wide[LEADING] = 5.0
    dispersion = Dispersion(ReachedPositions.of(PLANE), np.array([1.0, 1.0]), LEADING)
    rollout = rollout_of([fan(quiet), fan(wide), fan(quiet)])
    assert dispersion.largest(rollout) == pytest.approx(0.7, rel=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_calibration_rollouts_are_cut_as_rarely_as_promised(seed):
    rollouts = [synthetic_rollout(seed + number, decisions=5) for number in range(19)]
    dispersion = Dispersion.fit(rollouts, POLICY, 2)
    limit = calibrate_limit([dispersion.largest(rollout) for rollout in rollouts], alpha=0.1)
    horizon = TrustedHorizon(dispersion, limit)
    cut = [any(horizon(chunks) < 2 for chunks in rollout.chunks) for rollout in rollouts]
    # The 18th smallest of 19 is the limit: one rollout exceeds it.
    assert sum(cut) == 1


def test_new_rollouts_are_cut_as_rarely_as_promised():
    dispersion = Dispersion.fit([synthetic_rollout(seed) for seed in range(20)], POLICY, 2)
    largest = np.array(
        [dispersion.largest(synthetic_rollout(1000 + seed, decisions=4)) for seed in range(600)]
    )
    rng, alpha, splits = np.random.default_rng(0), 0.2, 500
    rates = []
    for _ in range(splits):
        shuffled = rng.permutation(largest)
        rates.append((shuffled[19:] > calibrate_limit(list(shuffled[:19]), alpha)).mean())
    assert np.mean(rates) <= alpha + 2 * np.std(rates) / np.sqrt(splits)
    assert np.mean(rates) >= alpha - 0.05
