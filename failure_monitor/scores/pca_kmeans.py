# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Distance to the nearest cluster of fitting embeddings in their principal components (PCA-kmeans).

    score(e) = min_c ‖Pᵀ (e − μ) − m_c‖₂

with μ the mean of the fitting embeddings, P their 10 first principal components and m_c the 64
centroids that k-means finds among their projections.
A baseline of Xu et al. (FAIL-Detect), RSS 2025, and of Römer et al. (FIPER), NeurIPS 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.nearest_neighbours import choose_decisions
from failure_monitor.scores.base.score import InstantScore, ScoreState
from failure_monitor.scores.base.standardisation import Standardisation

COMPONENTS = 10
CENTROIDS = 64
"""At most as many as there are decisions."""
ITERATIONS = 50


class PrincipalComponentClusters(InstantScore):
    """The distance of the projected embedding to the nearest centroid."""

    name = "pca_kmeans"
    meaning = "what it sees is unlike successful rollouts"

    def __init__(
        self,
        *,
        mean: NDArray[np.float64],
        components: NDArray[np.float64],
        centroids: NDArray[np.float64],
    ) -> None:
        """The clusters.

        Args:
            mean: μ, (E,).
            components: P, (E, C).
            centroids: m, (M, C).
        """
        self._mean = mean
        self._components = components
        self._centroids = centroids

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> PrincipalComponentClusters:
        """Find the components and clusters of the rollouts' embeddings.

        Raises:
            ScoreUndefinedError: the embeddings never change.
        """
        # Only to refuse embeddings that never change: the published score does not standardise.
        Standardisation.of_embeddings(rollouts, cls.name)
        order = choose_decisions(rollouts, sum(map(len, rollouts)), seed)
        embeddings = np.concatenate([rollout.embeddings for rollout in rollouts])[order]
        mean = embeddings.mean(axis=0, dtype=np.float64)
        centred = embeddings - mean
        _, axes = np.linalg.eigh(centred.T @ centred)
        components = axes[:, -COMPONENTS:]
        centroids = find_centroids(centred @ components, CENTROIDS, seed)
        return cls(mean=mean, components=components, centroids=centroids)

    def over_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """The distance at every decision, (T,)."""
        projected = (rollout.embeddings - self._mean) @ self._components
        apart = projected[:, np.newaxis] - self._centroids
        return np.asarray(np.linalg.norm(apart, axis=-1).min(axis=1))

    def state(self) -> ScoreState:
        """The clusters."""
        return ScoreState(
            arrays={
                "mean": self._mean,
                "components": self._components,
                "centroids": self._centroids,
            }
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> PrincipalComponentClusters:
        """The score with stored clusters."""
        return cls(
            mean=state.arrays["mean"].astype(np.float64),
            components=state.arrays["components"].astype(np.float64),
            centroids=state.arrays["centroids"].astype(np.float64),
        )


def find_centroids(points: NDArray[np.float64], most: int, seed: int) -> NDArray[np.float64]:
    """At most so many centroids of points (N, C), by k-means from k-means++ seeds; (M, C)."""
    centroids = _spread_seeds(points, most, np.random.default_rng(seed))
    nearest = None
    for _ in range(ITERATIONS):
        # ‖p − m‖² but for ‖p‖², which is the same for all centroids.
        distances = np.sum(centroids**2, axis=1) - 2 * points @ centroids.T
        previous, nearest = nearest, distances.argmin(axis=1)
        if previous is not None and (nearest == previous).all():
            break
        members = np.bincount(nearest, minlength=len(centroids))
        sums = np.zeros_like(centroids)
        np.add.at(sums, nearest, points)
        # A centroid without members stays where it is.
        centroids = np.where(
            members[:, np.newaxis] > 0, sums / np.maximum(members, 1)[:, np.newaxis], centroids
        )
    return centroids


def _spread_seeds(
    points: NDArray[np.float64], most: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Points drawn in proportion to their squared distance to those drawn before (k-means++)."""
    chosen = [points[random.integers(len(points))]]
    away = np.sum((points - chosen[0]) ** 2, axis=1)
    while len(chosen) < most and away.any():
        chosen.append(points[random.choice(len(points), p=away / away.sum())])
        away = np.minimum(away, np.sum((points - chosen[-1]) ** 2, axis=1))
    return np.array(chosen)
