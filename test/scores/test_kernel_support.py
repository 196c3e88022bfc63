# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The posterior variance of a Gaussian process over fitting decisions."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.scores import kernel_support
from failure_monitor.scores.kernel_support import REGULARISATION, KernelSupport

ROLLOUTS = [synthetic_rollout(seed) for seed in range(6)]
SCORE = KernelSupport.fit(ROLLOUTS, POLICY)


def points(score, rollout):
    """x by its definition, from what the score stores."""
    arrays = score.state().arrays
    flat = rollout.chunks.reshape(*rollout.chunks.shape[:2], -1).astype(np.float64)
    waves = np.cos(flat @ arrays["frequencies"] + arrays["phases"])
    means = np.sqrt(2 / waves.shape[-1]) * waves.mean(axis=1)
    seen = (rollout.embeddings - arrays["embedding_mean"]) / arrays["embedding_deviation"]
    sizes = arrays["bandwidths"]
    return np.concatenate([seen.clip(-10, 10) / sizes[0], means / sizes[1]], axis=1)


def test_it_is_the_posterior_variance_of_the_textbook():
    fitting = np.concatenate([points(SCORE, rollout) for rollout in ROLLOUTS])
    new = synthetic_rollout(9)

    def kernel(a, b):
        return np.exp(-np.sum((a[:, np.newaxis] - b) ** 2, axis=-1) / 2)

    noisy = kernel(fitting, fitting) + len(fitting) * REGULARISATION * np.eye(len(fitting))
    seen = kernel(points(SCORE, new), fitting)
    expected = 1 - np.einsum("tm,mt->t", seen, np.linalg.solve(noisy, seen.T))
    np.testing.assert_allclose(SCORE.score_rollout(new), expected, rtol=1e-3, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 6), elements=st.floats(-100, 100, width=32)))
def test_it_lies_between_0_and_1(embeddings):
    rollout = dataclasses.replace(synthetic_rollout(9, decisions=3), embeddings=embeddings)
    values = SCORE.score_rollout(rollout)
    assert (values >= 0).all()
    assert (values <= 1).all()


def test_it_is_small_where_the_process_was_observed_and_1_far_away():
    assert SCORE.score_rollout(ROLLOUTS[0]).max() < 0.01
    far = dataclasses.replace(ROLLOUTS[0], embeddings=ROLLOUTS[0].embeddings + 50)
    assert SCORE.score_rollout(far).min() > 0.99


def test_a_familiar_observation_with_unfamiliar_chunks_is_unsupported():
    other = dataclasses.replace(ROLLOUTS[0], chunks=-2 * ROLLOUTS[0].chunks)
    assert np.median(SCORE.score_rollout(other)) > 100 * SCORE.score_rollout(ROLLOUTS[0]).max()


def test_the_order_of_samples_does_not_matter():
    shuffled = dataclasses.replace(ROLLOUTS[0], chunks=ROLLOUTS[0].chunks[:, ::-1])
    np.testing.assert_allclose(
        SCORE.score_rollout(shuffled), SCORE.score_rollout(ROLLOUTS[0]), atol=1e-6
    )


def test_the_support_is_bounded(monkeypatch):
    monkeypatch.setattr(kernel_support, "SUPPORT", 10)
    state = KernelSupport.fit(ROLLOUTS, POLICY).state()
    assert state.arrays["support"].shape == (10, 6 + kernel_support.FOURIER_FEATURES)
    assert state.arrays["whitening"].shape == (10, 10)


def test_decisions_that_repeat_one_another_do_no_harm():
    twice = [*ROLLOUTS, *ROLLOUTS]
    score = KernelSupport.fit(twice, POLICY)
    assert score.score_rollout(ROLLOUTS[0]) == pytest.approx(0, abs=0.01)
