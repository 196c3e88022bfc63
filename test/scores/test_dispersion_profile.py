# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the policy is as sure of its actions as usual."""

import dataclasses

import numpy as np
import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.decision import Rollout
from failure_monitor.scores.dispersion_profile import DispersionProfile, _ranges

USUAL = 0.1


def spread_rollout(seed: int, spread: np.ndarray | float = USUAL, decisions: int = 20) -> Rollout:
    """Samples that scatter around 0 by about `spread`."""
    random = np.random.default_rng(seed)
    about = spread * np.exp(0.1 * random.normal(size=(decisions, 1, 5, 3)))
    chunks = about * random.normal(size=(decisions, *POLICY.chunk_shape))
    return dataclasses.replace(
        synthetic_rollout(seed, decisions=decisions), chunks=chunks.astype(np.float32)
    )


@pytest.fixture(scope="module")
def score():
    return DispersionProfile.fit([spread_rollout(seed) for seed in range(12)], POLICY)


def test_it_is_the_mean_distance_to_the_nearest_profiles_of_the_phase_by_brute_force(score):
    def profiles(rollout):
        return np.log(rollout.chunks.std(axis=1) + floor).reshape(len(rollout), -1)

    rollouts = [spread_rollout(seed) for seed in range(12)]
    chunks = np.concatenate([rollout.chunks for rollout in rollouts])
    floor = 0.01 * np.ptp(chunks, axis=(0, 1, 2))
    memory = np.concatenate([profiles(rollout) for rollout in rollouts])
    mean, deviation = memory.mean(axis=0), memory.std(axis=0)
    times = np.concatenate([np.arange(20)] * 12)
    new = spread_rollout(77, decisions=25)
    expected = []
    for time, profile in enumerate(profiles(new)):
        phase = memory[np.abs(times - min(time, 19)) <= 3]
        distances = np.sort(np.linalg.norm((phase - profile) / deviation, axis=1))
        expected.append(distances[:8].mean())
    assert mean.shape == (15,)
    np.testing.assert_allclose(score.score_rollout(new), expected, rtol=1e-4)


@pytest.mark.parametrize("factor", [0.3, 3])
def test_it_sees_a_policy_that_is_surer_or_less_sure_than_usual(score, factor):
    usual = score.score_rollout(spread_rollout(77))
    assert score.score_rollout(spread_rollout(77, factor * USUAL)).min() > 1.5 * usual.max()


def test_it_sees_uncertainty_at_the_wrong_time():
    usual = np.linspace(0.01, 1, 20)[:, np.newaxis, np.newaxis, np.newaxis]
    score = DispersionProfile.fit([spread_rollout(seed, usual) for seed in range(12)], POLICY)
    forward, backward = spread_rollout(77, usual), spread_rollout(77, usual[::-1])
    assert score.score_rollout(backward)[0] > 3 * score.score_rollout(forward).max()


def test_where_the_samples_are_does_not_count(score):
    rollout = spread_rollout(77)
    moved = dataclasses.replace(rollout, chunks=rollout.chunks[:, ::-1] + np.float32(3))
    np.testing.assert_allclose(score.score_rollout(moved), score.score_rollout(rollout), rtol=1e-3)


def test_the_unit_of_an_action_does_not_count(score):
    units = np.float32([1000, 0.01, 1])
    scaled = [
        dataclasses.replace(r, chunks=r.chunks * units) for r in map(spread_rollout, range(12))
    ]
    rollout = spread_rollout(77)
    other = dataclasses.replace(rollout, chunks=rollout.chunks * units)
    np.testing.assert_allclose(
        DispersionProfile.fit(scaled, POLICY).score_rollout(other),
        score.score_rollout(rollout),
        rtol=1e-4,
    )


def test_an_action_that_never_varies_says_nothing():
    frozen = [
        dataclasses.replace(r, chunks=r.chunks * np.float32([1, 1, 0]))
        for r in map(spread_rollout, range(12))
    ]
    np.testing.assert_allclose(_ranges(frozen)[2], 1)
    score = DispersionProfile.fit(frozen, POLICY)
    np.testing.assert_array_equal(
        score.score_rollout(frozen[0]), score.score_rollout(spread_rollout(0))
    )
