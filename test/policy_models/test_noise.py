# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every rollout meets the same noise, however it is drawn."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.policy_models.contract import NoiseDistribution
from failure_monitor.policy_models.noise import NoiseStream

SEEDS = st.integers(0, 2**32 - 1)
DISTRIBUTIONS = st.sampled_from(get_args(NoiseDistribution))


@given(
    SEEDS, DISTRIBUTIONS, st.integers(1, 5), st.lists(st.integers(1, 4), min_size=1, max_size=5)
)
def test_one_decision_at_a_time_or_many_at_once_gives_the_same_noise(
    seed, distribution, samples, batches
):
    single, batched = (NoiseStream((3, 2), distribution, seed=seed) for _ in range(2))
    one_by_one = np.stack([single.draw(samples) for _ in range(sum(batches))])
    at_once = np.concatenate([batched.draw(decisions, samples) for decisions in batches])
    np.testing.assert_array_equal(one_by_one, at_once)


@given(SEEDS, DISTRIBUTIONS, st.integers(0, 5))
def test_every_rollout_meets_the_same_noise(seed, distribution, decisions):
    stream = NoiseStream((2,), distribution, seed=seed)
    first = stream.draw(4)
    for _ in range(decisions):
        stream.draw(4)
    stream.start_rollout()
    np.testing.assert_array_equal(stream.draw(4), first)


def test_decisions_of_a_rollout_and_other_seeds_meet_other_noise():
    stream = NoiseStream((2,), "standard_normal", seed=0)
    first = stream.draw(4)
    assert not np.array_equal(stream.draw(4), first)
    assert not np.array_equal(NoiseStream((2,), "standard_normal", seed=1).draw(4), first)


@pytest.mark.parametrize(
    ("distribution", "mean", "std"), [("standard_normal", 0, 1), ("uniform", 0.5, 12**-0.5)]
)
def test_noise_is_drawn_from_its_distribution(distribution, mean, std):
    noise = NoiseStream((100, 100), distribution, seed=0).draw(4)
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(mean, abs=0.02)
    assert noise.std() == pytest.approx(std, abs=0.02)
