# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Distance to the nearest cluster of fitting embeddings in their principal components
(PCA-kmeans).

    score(e) = min_c ‖Pᵀ (e − μ) − m_c‖₂

with μ the mean of the fitting embeddings, P their 10 first principal components and m_c the 64
centroids that k-means finds among their projections.
A baseline of Xu et al. (FAIL-Detect), RSS 2025, and of Römer et al. (FIPER), NeurIPS 2025.
"""

from __future__ import annotations

import warnings
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
        """Create the score from its clusters.

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
        # Only to reject embeddings that never change: the published score does not standardise.
        Standardisation.of_embeddings(rollouts, cls.name)
        order = choose_decisions(rollouts, sum(map(len, rollouts)), seed)
        embeddings = np.concatenate([rollout.embeddings for rollout in rollouts])[order]
        mean = embeddings.mean(axis=0, dtype=np.float64)
        centred = embeddings - mean
        _, axes = np.linalg.eigh(centred.T @ centred)
        components = axes[:, -COMPONENTS:]
        centroids = find_centroids(centred @ components, CENTROIDS, seed)
        return cls(mean=mean, components=components, centroids=centroids)

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the distance at every decision, (T,)."""
        projected = (rollout.embeddings - self._mean) @ self._components
        apart = projected[:, np.newaxis] - self._centroids
        return np.asarray(np.linalg.norm(apart, axis=-1).min(axis=1))

    def state(self) -> ScoreState:
        """Return the clusters."""
        return ScoreState(
            arrays={
                "mean": self._mean,
                "components": self._components,
                "centroids": self._centroids,
            }
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> PrincipalComponentClusters:
        """Restore the score with stored clusters."""
        return cls(
            mean=state.arrays["mean"].astype(np.float64),
            components=state.arrays["components"].astype(np.float64),
            centroids=state.arrays["centroids"].astype(np.float64),
        )


def find_centroids(points: NDArray[np.float64], most: int, seed: int) -> NDArray[np.float64]:
    """Return at most `most` centroids of points (N, C), found by k-means from k-means++ seeds.

    Returns:
        (M, C), with M no larger than the number of distinct points.
    """
    # Imported here: only calibration needs it, and it takes longer to load than all scores.
    from scipy.cluster.vq import kmeans2

    distinct = len(np.unique(points, axis=0))
    # Points that differ by less than a square can hold count as one: no chance is left to draw.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # A centroid without members stays where it is, which is as good.
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        centroids, _ = kmeans2(points, min(most, distinct), iter=ITERATIONS, minit="++", seed=seed)
    return np.asarray(centroids)
