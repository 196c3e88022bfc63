# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Statistical temporal action consistency (STAC): whether the policy still means what it meant.

The chunks of a decision and of the one before overlap in time once the first k actions are
executed. With X the overlapping parts of the B chunks before and Y those of the B chunks now,
the score is the squared maximum mean discrepancy between the two sets (biased estimate):

    MMD² = mean k(x, x') + mean k(y, y') − 2 mean k(x, y),    k(a, b) = exp(−‖a − b‖² / 2m)

with m the median of the squared distances above 0 within X ∪ Y. Actions are scaled to unit
variance first. In [0, 2]; undefined at a rollout's first decision, and where nothing overlaps. Of
chunks that are led to what is being executed only the actions after these are compared.
Agia et al., "Unpacking Failure Modes of Generative Policies" (Sentinel), CoRL 2024; Gretton et
al., "A Kernel Two-Sample Test", JMLR 2012, equation 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.chunk_overlap import ChunkOverlapScore
from failure_monitor.scores.base.sampled_chunks import require_differing_samples

SAME_BELOW = {"float32": 1e-6, "float64": 1e-12}
"""Squared distances below this share of the largest squared norm are rounding errors of 0."""


class TemporalConsistency(ChunkOverlapScore):
    """The discrepancy between what was planned and what is planned now, for the same time."""

    name = "stac"
    meaning = "the policy changes its mind"

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> ChunkOverlapScore:
        """Fit the actions' scales to the rollouts.

        Raises:
            ScoreUndefinedError: chunks do not overlap, or samples never differ.
        """
        require_differing_samples(rollouts, policy, cls.name)
        return super().fit(rollouts, policy, seed)

    @staticmethod
    def compare_overlaps(
        before: NDArray[np.floating], now: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """MMD² of every pair of sets, (N,)."""
        return np.array(
            [
                discrepancy(x.reshape(len(x), -1), y.reshape(len(y), -1))
                for x, y in zip(before, now, strict=True)
            ]
        )


def discrepancy(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Return the biased MMD² of two sets of B points with F coordinates each, (B, F).

    It is NaN where distances overflow.
    """
    samples = len(x)
    points = np.concatenate([x, y])
    distances = _distances_of_pairs(points)
    apart = distances[distances > 0]
    if len(apart) < len(distances):
        # One point far off is enough to round the distances between all others to 0.
        distances = _distances_of_pairs(points.astype(np.float64))
        apart = distances[distances > 0]
        if not np.isfinite(distances).all():
            return np.nan
    if not len(apart):
        return 0.0
    kernel = np.exp(distances * distances.dtype.type(-0.5 / _median(apart)))
    # Every pair within a set stands for two, and every point is at distance 0 of itself.
    within = samples * (samples - 1)
    same = 2 * samples + 2 * kernel[:within].sum(dtype=np.float64)
    other = kernel[within:].sum(dtype=np.float64)
    return max(float(same - 2 * other) / samples**2, 0.0)


def _distances_of_pairs(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the squared distances of all pairs of points (2B, F), first those within one set."""
    distances = _squared_distances(points).ravel()
    within, across = _pairs(len(points) // 2)
    return np.concatenate([distances[within], distances[across]])


def _squared_distances(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Between points (N, F); only what lies below the diagonal of the (N, N) matrix means it."""
    # ‖a‖² + ‖b‖² − 2 a·b of centred points: half a matrix product, in place.
    points = points - points.mean(axis=0)
    norms = np.einsum("nf,nf->n", points, points)
    # Imported here: a monitor whose rule lacks this score starts sooner without it.
    from scipy.linalg.blas import dsyrk, ssyrk

    product = ssyrk if points.dtype == np.float32 else dsyrk
    distances: NDArray[np.floating] = product(-2.0, points.T, trans=1).T
    distances += norms
    distances += norms[:, np.newaxis]
    distances[distances < SAME_BELOW[points.dtype.name] * norms.max()] = 0
    return distances


@lru_cache
def _pairs(samples: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where a flat (2B, 2B) matrix holds the pairs within one set, and those across."""
    rows, columns = np.tril_indices(2 * samples, -1)
    places = rows * 2 * samples + columns
    across = (rows >= samples) & (columns < samples)
    return places[~across], places[across]


def _median(values: NDArray[np.floating]) -> float:
    # `np.median` takes ten times as long.
    middle = len(values) // 2
    ordered = np.partition(values, middle)
    if len(values) % 2:
        return float(ordered[middle])
    return float(ordered[:middle].max() + ordered[middle]) / 2
