# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A scale that follows the course of a task: the functional one-sided band.

    z_k(t) = (s_k(t) − m_k(t)) / u_k(t),    threshold m_k(t) + limit · u_k(t)

The sign is score minus centre, for only a score above its usual course is a warning.
Diquigiovanni, Fontana and Vantini, "Conformal prediction bands for multivariate functional data",
2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.thresholds.conformal import Scale

NEIGHBOURS = 2
"""Centre and spread of a decision are taken over at least so many decisions to either side."""
MIN_SHARE = 0.5
"""A spread is never less than this share of its mean over all decisions of all rollouts."""


@dataclass(frozen=True, eq=False)
class TimeVaryingScale(Scale):
    """The scale at each of the first L decisions of a rollout; the last holds from there on.

    Attributes:
        centre: (L, K), the usual course of each score; (L, F, K) of each of F folds.
        spread: how far above it the score comes; positive.
    """

    @classmethod
    def fit(cls, series: Sequence[NDArray[np.float64]]) -> TimeVaryingScale:
        """Return the scale of the windowed scores of successful rollouts, (T, K) each.

        L is the length of the longest. Where rollouts have ended, the few that still run show
        little: their decisions are pooled with earlier ones, until there are as many values as
        rollouts.

        Raises:
            CalibrationError: a score is nowhere defined.
        """
        Scale.fit(series)
        side_by_side = _side_by_side(series)
        scales = [Scale.fit([pool]) for pool in _pools(side_by_side)]
        spread = np.stack([scale.spread for scale in scales])
        running = [
            sum(len(values) > decision for values in series) for decision in range(len(spread))
        ]
        mean = np.average(spread, axis=0, weights=running)
        return cls(
            centre=np.stack([scale.centre for scale in scales]),
            spread=np.maximum(spread, MIN_SHARE * mean),
        )

    @staticmethod
    def side_by_side(scales: Sequence[Scale]) -> TimeVaryingScale:
        """Return the scales of F folds as one, of windowed scores (..., F, K)."""
        longest = np.arange(max(len(scale.centre) for scale in scales))
        at = [scale.at(longest) for scale in scales]
        return TimeVaryingScale(
            np.stack([scale.centre for scale in at], axis=-2),
            np.stack([scale.spread for scale in at], axis=-2),
        )

    def at(self, decisions: int | NDArray[np.int64]) -> Scale:
        """Return the scale at a decision, or at each of several; counted from 0."""
        known = np.minimum(decisions, len(self.centre) - 1)
        return Scale(self.centre[known], self.spread[known])

    def covers(self, decision: int) -> bool:
        """Return whether a rollout that the scale was fitted on was so long."""
        return decision < len(self.centre)


def _side_by_side(series: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Stack all rollouts from their first decision on, (n, L, K); NaN after their end."""
    longest = max(len(values) for values in series)
    padded = np.full((len(series), longest, series[0].shape[1]), np.nan)
    for row, values in zip(padded, series, strict=True):
        row[: len(values)] = values
    return padded


def _pools(side_by_side: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the scores around each decision, L times (N, K)."""
    n, longest, K = side_by_side.shape
    of_the_scarcest = (~np.isnan(side_by_side)).sum(axis=0).min(axis=1)
    pools = []
    for decision in range(longest):
        width = NEIGHBOURS
        around = _around(decision, width)
        while of_the_scarcest[around].sum() < n and width < longest:
            width += 1
            around = _around(decision, width)
        pools.append(side_by_side[:, around].reshape(-1, K))
    return pools


def _around(decision: int, width: int) -> slice:
    return slice(max(0, decision - width), decision + width + 1)
