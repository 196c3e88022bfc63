# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How far a part of an end is from those of true successes, in all directions at once.

Mahalanobis's distance with the covariance of Ledoit and Wolf (2004), (1 − ρ) S + ρ m I, of n ends
with V values, where n is small and V may be large:

    d² = ‖x‖² / ρm + Σ_j (q_jᵀ x)² (1 / ((1 − ρ) λ_j + ρm) − 1 / ρm)

λ_j and q_j are the variances of S, and their directions. What no end ever did counts by ρm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_ENDS = 3
"""Number of ends below which nothing is known of how they differ."""
MAX_DIRECTIONS = 48
"""Those of smaller variance count as if no end had varied in them."""
MIN_SHRINKAGE = 0.02
"""Least ρ, so that a direction in which few ends hardly differ does not decide alone."""
AT_REST = 1e-3
"""A value that never varies counts as if it did by this share of the usual value."""
FAR = 1e6
"""Largest number of deviations that is told apart."""


@dataclass(frozen=True, eq=False)
class EndModel:
    """The distance to true ends, by F models: one for each fold, which it did not learn from.

    Attributes:
        mean: (F, V).
        deviation: (F, V), of each value.
        directions: float32 (F, R, V).
        weights: (F, R), 1 / ((1 − ρ) λ + ρm) − 1 / ρm of each.
        noise: (F,), ρm.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    directions: NDArray[np.float32]
    weights: NDArray[np.float64]
    noise: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.float64]) -> EndModel:
        """Return the model, F = 1, of ends (n, V)."""
        mean, deviation = values.mean(axis=0), values.std(axis=0)
        moved = deviation[deviation > 0]
        usual = float(np.median(moved)) if len(moved) else 0.0
        rest = AT_REST * np.maximum(np.maximum(np.abs(mean), usual), AT_REST)
        deviation = np.maximum(deviation, rest)
        standard = (values - mean) / deviation
        count, size = standard.shape
        _, singular, directions = np.linalg.svd(standard, full_matrices=False)
        variances = singular**2 / count
        usual_variance = max(float(variances.sum()) / size, AT_REST)
        apart = float((variances**2).sum()) - size * usual_variance**2
        fourth = float(((standard**2).sum(axis=1) ** 2).mean())
        error = max((fourth - float((variances**2).sum())) / count, 0.0)
        shrinkage = 1.0 if error >= apart else max(error / apart, MIN_SHRINKAGE)
        noise = shrinkage * usual_variance
        kept = slice(min(len(variances), MAX_DIRECTIONS))
        weights = 1 / ((1 - shrinkage) * variances[kept] + noise) - 1 / noise
        return cls(
            mean[np.newaxis],
            deviation[np.newaxis],
            directions[np.newaxis, kept].astype(np.float32),
            weights[np.newaxis],
            np.array([noise]),
        )

    @classmethod
    def of_folds(cls, models: Sequence[EndModel]) -> EndModel:
        """Return models of one fold each as one."""
        most = max(model.weights.shape[1] for model in models)

        def padded(array: NDArray[np.generic]) -> NDArray[np.generic]:
            width = [(0, 0), (0, most - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
            return np.pad(array, width)

        return cls(
            np.concatenate([model.mean for model in models]),
            np.concatenate([model.deviation for model in models]),
            np.concatenate([padded(model.directions) for model in models]),
            np.concatenate([padded(model.weights) for model in models]),
            np.concatenate([model.noise for model in models]),
        )

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance of an end (V,) by every model, (F,)."""
        standard = np.clip(self.deviations(values), -FAR, FAR)
        along = (self.directions @ standard[..., np.newaxis])[..., 0]
        squared = (standard**2).sum(axis=-1) / self.noise + (self.weights * along**2).sum(axis=-1)
        return np.asarray(np.sqrt(np.maximum(squared, 0.0) / values.size))

    def deviations(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how many deviations each value is off its mean, (F, V)."""
        return np.asarray((values - self.mean) / self.deviation)
