# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded actions that are a policy's, and others."""

from __future__ import annotations

import numpy as np

from failure_monitor.sources.own_actions import (
    MAX_DISTANCE_OF_EPISODE,
    compare_actions,
    nearest_sample,
    pooled,
)

SCALE = np.ones(2)


def sampled(decisions: int, *, samples: int = 16, shift: float = 0.0, seed: int = 0):
    """Chunks, and recorded actions that are one more sample, moved by `shift`."""
    rng = np.random.default_rng(seed)
    plans = rng.normal(size=(decisions, 1, 6, 2))
    drawn = plans + 0.05 * rng.normal(size=(decisions, samples + 1, 6, 2))
    return list(drawn[:, 1:]), list(drawn[:, 0, :4] + shift)


def test_one_more_sample_is_own() -> None:
    surprises = [compare_actions(*sampled(20, seed=s), SCALE).surprise for s in range(200)]
    assert abs(np.mean(surprises)) < 0.3
    assert 0.7 < np.std(surprises) < 1.3
    assert max(surprises) < 3.4


def test_actions_further_off_than_samples_are_not() -> None:
    assert compare_actions(*sampled(20), SCALE).are_own()
    assert not compare_actions(*sampled(20, shift=0.1), SCALE).are_own()
    # What is small against the scale of actions may come of compression.
    assert compare_actions(*sampled(20, shift=0.1), 20 * SCALE).are_own()


def test_without_noise_actions_are_the_same() -> None:
    chunks, _ = sampled(5, samples=1)
    same = compare_actions(chunks, [chunk[0, :4] for chunk in chunks], SCALE)
    assert same.are_own()
    assert (same.distance, same.noise) == (0, 0)
    moved = compare_actions(chunks, [chunk[0, :4] + 0.05 for chunk in chunks], SCALE)
    assert not moved.are_own()
    assert moved.are_own(MAX_DISTANCE_OF_EPISODE)


def test_episodes_are_stronger_together() -> None:
    parts = [compare_actions(*sampled(3, shift=0.06, seed=seed), SCALE) for seed in range(30)]
    assert all(part.are_own(MAX_DISTANCE_OF_EPISODE) for part in parts)
    assert not pooled(parts).are_own()


def test_chunks_that_end_before_the_next_decision_are_compared_as_far_as_they_go() -> None:
    chunks, _ = sampled(4)
    longer = [np.concatenate([chunk[0], np.full((5, 2), 99.0)]) for chunk in chunks]
    assert compare_actions(chunks, longer, SCALE).distance == 0
    assert compare_actions([], [], SCALE) is None


def test_the_nearest_sample_is_found() -> None:
    (chunk,), _ = sampled(1)
    assert nearest_sample(chunk, chunk[5, :4] + 1e-6) == 5
