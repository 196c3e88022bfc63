# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The covariance of Ledoit and Wolf, also of more values than memory holds at once.

"A well-conditioned estimator for large-dimensional covariance matrices", 2004:

    (1 − ρ) S + ρ m I

S is the sample covariance, m = tr S / V, and ρ = min(1, b² / d²) with d² = ‖S − m I‖² and
b² = Σ_n ‖x_n x_nᵀ − S‖² / N², all in the Frobenius norm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_VARIANCE = 1e-6
"""Variances along the covariance's axes are at least this share of their mean."""


class CovarianceSum:
    """The sums over centred values, part by part, from which their shrunk covariance follows."""

    def __init__(self, size: int) -> None:
        """Start without a value.

        Args:
            size: V, of each value.
        """
        self._count = 0
        self._squares = np.zeros((size, size))
        self._fourth = 0.0

    def add(self, centred: NDArray[np.float64]) -> None:
        """Add centred values (N, V)."""
        self._count += len(centred)
        self._squares += centred.T @ centred
        self._fourth += float(np.sum(np.sum(centred**2, axis=1) ** 2))

    def shrunk(self) -> NDArray[np.float64]:
        """Return the shrunk covariance, (V, V)."""
        sample = self._squares / self._count
        size = len(sample)
        target = np.trace(sample) / size * np.eye(size)
        distance = np.sum((sample - target) ** 2)
        fourth = self._fourth / self._count
        error = max((fourth - np.sum(sample**2)) / self._count, 0.0)
        shrinkage = 1.0 if error >= distance else error / distance
        return np.asarray((1 - shrinkage) * sample + shrinkage * target)


def shrunk_covariance(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shrunk covariance of centred values (N, V), (V, V)."""
    total = CovarianceSum(centred.shape[1])
    total.add(centred)
    return total.shrunk()


def whitening(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix W (V, V) with W Wᵀ = Σ⁻¹ of a covariance Σ."""
    variances, axes = np.linalg.eigh(covariance)
    return np.asarray(axes / np.sqrt(np.maximum(variances, MIN_VARIANCE * variances.mean())))
