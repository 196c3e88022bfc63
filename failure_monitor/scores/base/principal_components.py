# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The few directions in which many features vary most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def principal_components(features: NDArray[np.float64], most: int) -> NDArray[np.float32] | None:
    """Return the directions of largest variance, or None if there are no more features than that.

    They are stretched alike, so that the mean variance along them is that of the features.

    Args:
        features: (N, V), of mean 0.
        most: P, how many directions.

    Returns:
        (V, P), or fewer where the features do not vary in so many.
    """
    count, size = features.shape
    if size <= most:
        return None
    # Imported here: fitting alone needs it, and the monitor starts sooner without it.
    from scipy.linalg import eigh

    if size <= count:
        last = (size - most, size - 1)
        variances, directions = eigh(features.T @ features, subset_by_index=last)
    else:
        last = (max(count - most, 0), count - 1)
        variances, of_rows = eigh(features @ features.T, subset_by_index=last)
        directions = features.T @ of_rows
    varies = variances > 1e-9 * variances[-1]
    variances, directions = variances[varies][::-1], directions[:, varies][:, ::-1]
    directions = directions / np.linalg.norm(directions, axis=0)
    # The sign of a direction is arbitrary: fixed, so that the same rollouts give the same model.
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(len(largest))])
    mean_square = np.mean(features**2)
    stretch = np.sqrt(mean_square * count * len(variances) / variances.sum())
    return np.asarray(stretch * directions, dtype=np.float32)
