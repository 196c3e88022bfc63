# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Clusters in principal components."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.scores.pca_kmeans import (
    PrincipalComponentClusters,
    find_centroids,
)

clouds = arrays(np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=st.floats(-9, 9))


def test_three_clouds_have_three_centroids():
    random = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]])
    cloud = np.concatenate([centre + 0.1 * random.normal(size=(50, 2)) for centre in centres])
    found = find_centroids(cloud, 3, seed=0)
    expected = cloud.reshape(3, 50, 2).mean(axis=1)
    order = np.lexsort(np.round(found).T)
    np.testing.assert_allclose(found[order], expected[np.lexsort(np.round(expected).T)])


@settings(max_examples=50, deadline=None)
@given(clouds, st.integers(1, 64))
def test_centroids_are_at_most_as_many_as_points_and_lie_among_them(points, most):
    found = find_centroids(points, most, seed=0)
    assert 1 <= len(found) <= min(most, len(points))
    assert (found >= points.min(axis=0) - 1e-9).all()
    assert (found <= points.max(axis=0) + 1e-9).all()


def test_as_many_centroids_as_decisions_leave_no_distance():
    rollouts = [synthetic_rollout(seed) for seed in range(5)]
    score = PrincipalComponentClusters.fit(rollouts, POLICY)
    assert len(score.state().arrays["centroids"]) == 60
    np.testing.assert_allclose(score.score_rollout(rollouts[0]), 0, atol=1e-5)


def test_all_of_few_dimensions_are_kept_so_that_distances_are_those_of_embeddings():
    rollouts = [synthetic_rollout(seed) for seed in range(5)]
    score = PrincipalComponentClusters.fit(rollouts, POLICY)
    moved = rollouts[0].embeddings.copy()
    moved[0] += 100
    far = dataclasses.replace(rollouts[0], embeddings=moved)
    nearest = np.linalg.norm(
        np.concatenate([r.embeddings for r in rollouts]) - moved[0], axis=1
    ).min()
    np.testing.assert_allclose(score.score_rollout(far)[0], nearest, rtol=1e-5)


def test_only_the_first_ten_components_count():
    random = np.random.default_rng(0)
    scales = np.float32([10] * 10 + [0.01] * 5)
    rollouts = [
        dataclasses.replace(
            synthetic_rollout(seed),
            embeddings=scales * random.normal(size=(12, 15)).astype(np.float32),
        )
        for seed in range(20)
    ]
    score = PrincipalComponentClusters.fit(
        rollouts, dataclasses.replace(POLICY, embedding_size=15)
    )
    beyond = rollouts[0].embeddings + np.float32([0] * 10 + [5] * 5)
    np.testing.assert_allclose(
        score.score_rollout(dataclasses.replace(rollouts[0], embeddings=beyond)),
        score.score_rollout(rollouts[0]),
        atol=0.1,
    )
