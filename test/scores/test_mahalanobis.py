# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The Mahalanobis distance and the covariance it rests on."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.scores.mahalanobis import Mahalanobis, shrunk_covariance

sklearn_covariance = pytest.importorskip("sklearn.covariance")

samples = arrays(
    np.float64, st.tuples(st.integers(3, 12), st.integers(1, 6)), elements=st.floats(-5, 5)
)


@given(samples)
def test_the_covariance_agrees_with_an_independent_implementation(values):
    centred = values - values.mean(axis=0)
    expected, _ = sklearn_covariance.ledoit_wolf(centred, assume_centered=True)
    np.testing.assert_allclose(shrunk_covariance(centred), expected, rtol=1e-6, atol=1e-9)


@given(samples)
def test_shrinking_keeps_the_total_variance(values):
    centred = values - values.mean(axis=0)
    total = np.trace(centred.T @ centred / len(centred))
    assert np.trace(shrunk_covariance(centred)) == pytest.approx(total, abs=1e-9)


def test_a_case_by_hand():
    # (±1, 0) and (0, ±1): S = I/2, which is its own target.
    cross = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    np.testing.assert_allclose(shrunk_covariance(cross), np.eye(2) / 2)


def test_it_is_the_quadratic_form_of_the_inverse_covariance():
    rollouts = [synthetic_rollout(seed) for seed in range(5)]
    values = np.concatenate([rollout.embeddings for rollout in rollouts]).astype(np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    inverse = np.linalg.inv(shrunk_covariance((values - mean) / deviation))
    new = synthetic_rollout(9)
    apart = (new.embeddings - mean) / deviation
    expected = np.sqrt(np.einsum("ti,ij,tj->t", apart, inverse, apart))
    score = Mahalanobis.fit(rollouts, POLICY)
    np.testing.assert_allclose(score.score_rollout(new), expected, rtol=1e-6)
    at_mean = dataclasses.replace(new, embeddings=np.tile(mean, (len(new), 1)).astype(np.float32))
    np.testing.assert_allclose(score.score_rollout(at_mean), 0, atol=1e-5)


def test_features_that_repeat_one_another_do_no_harm():
    rollouts = [synthetic_rollout(seed) for seed in range(5)]
    twice = [
        dataclasses.replace(r, embeddings=np.repeat(r.embeddings, 2, axis=1)) for r in rollouts
    ]
    assert np.isfinite(Mahalanobis.fit(twice, POLICY).score_rollout(twice[0])).all()
