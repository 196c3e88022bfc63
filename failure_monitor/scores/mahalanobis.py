# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Mahalanobis distance of the observation embedding: how unfamiliar it is.

    score(e) = √((e − μ)ᵀ Σ⁻¹ (e − μ))

with μ and Σ the mean and the shrunk covariance of the standardised fitting embeddings.
Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018;
the shrinkage is that of Ledoit and Wolf, "A well-conditioned estimator for large-dimensional
covariance matrices", 2004.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.score import InstantScore, ScoreState
from failure_monitor.scores.base.shrunk_covariance import shrunk_covariance, whitening
from failure_monitor.scores.base.standardisation import Standardisation


class Mahalanobis(InstantScore):
    """The distance from the fitting embeddings' mean, in units of their spread."""

    name = "mahalanobis"
    meaning = "what it sees is unlike successful rollouts"

    def __init__(
        self,
        *,
        standardisation: Standardisation,
        mean: NDArray[np.float64],
        whitening: NDArray[np.float64],
    ) -> None:
        """Create the score from the embeddings' distribution.

        Args:
            standardisation: of embeddings.
            mean: μ, (V,).
            whitening: (V, V), a matrix W with W Wᵀ = Σ⁻¹.
        """
        self._standardisation = standardisation
        self._mean = mean
        self._whitening = whitening

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0) -> Mahalanobis:
        """Estimate mean and covariance from the rollouts' embeddings.

        Raises:
            ScoreUndefinedError: the embeddings never change.
        """
        standardisation = Standardisation.of_embeddings(rollouts, cls.name)
        embeddings = standardisation(np.concatenate([rollout.embeddings for rollout in rollouts]))
        mean = embeddings.mean(axis=0)
        covariance = shrunk_covariance(embeddings - mean)
        return cls(standardisation=standardisation, mean=mean, whitening=whitening(covariance))

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the distance at every decision, (T,)."""
        apart = self._standardisation(rollout.embeddings) - self._mean
        return np.asarray(np.linalg.norm(apart @ self._whitening, axis=-1))

    def state(self) -> ScoreState:
        """Return the distribution."""
        return ScoreState(
            arrays={
                "mean": self._mean,
                "whitening": self._whitening,
                **self._standardisation.arrays("embedding"),
            }
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> Mahalanobis:
        """Restore the score with a stored distribution."""
        return cls(
            standardisation=Standardisation.from_state(state, "embedding"),
            mean=state.arrays["mean"].astype(np.float64),
            whitening=state.arrays["whitening"].astype(np.float64),
        )
