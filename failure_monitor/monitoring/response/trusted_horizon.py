# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Trusted horizon: how many leading actions of a chunk the samples agree on.

Let x_bhp be the position that sample b reaches after h actions in dimension p. Let u_p be the root
mean square, over fitting decisions, of its standard deviation over the samples after k actions.
Then

    d_h = sqrt(mean_p var_b(x_bhp) / u_p²)

is 1 where the samples are as far apart as they usually are at the end of the k leading actions.
The trusted horizon is the number of actions before the first with d_h above a limit q. Let
c_i = max over time and h ≤ k of d_h in a successful rollout i, and let q be the
⌈(n+1)(1−alpha)⌉-th smallest of n of these. Then the chance that a successful rollout is ever
trusted for less than k actions is at most alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.reached_positions import ReachedPositions
from failure_monitor.scores.base.sampled_chunks import require_differing_samples
from failure_monitor.thresholds.conformal import finite_sample_quantile

NAME = "the trusted horizon"

MIN_SHARE = 0.01
"""Smallest usual dispersion of a dimension, as a share of the widest dimension's."""


@dataclass(frozen=True, eq=False)
class Dispersion:
    """The distance between a decision's samples after each action, relative to the usual one.

    Attributes:
        positions: turns chunks into the positions that they reach.
        usual: u_p, the usual dispersion after the leading actions, float64 (P,).
        leading: k, the number of leading actions.
    """

    positions: ReachedPositions
    usual: NDArray[np.float64]
    leading: int

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, leading: int) -> Dispersion:
        """Fit the usual dispersion to rollouts.

        Raises:
            ScoreUndefinedError: there is one sample per decision, or the samples never differ.
        """
        require_differing_samples(rollouts, policy, NAME)
        positions = ReachedPositions.of(policy)
        variances = [
            positions(rollout.chunks)[:, :, leading - 1].var(axis=1, dtype=np.float64)
            for rollout in rollouts
        ]
        usual = np.sqrt(np.concatenate(variances).mean(axis=0))
        return cls(positions, np.maximum(usual, MIN_SHARE * usual.max()), leading)

    def __call__(self, chunks: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return d_h of chunks (B, H, D), (H,)."""
        positions = self.positions(chunks)
        # Relative to the first sample, which is near: otherwise rounding errors would dominate.
        apart = (positions - positions[0]).reshape(len(positions), -1)
        squares = np.einsum("bf,bf->f", apart, apart) / len(apart)
        variance = np.maximum(squares - apart.mean(axis=0) ** 2, 0.0).reshape(positions.shape[1:])
        return np.asarray(np.sqrt((variance / self.usual**2).mean(axis=1)))

    def largest(self, rollout: Rollout) -> float:
        """Return c_i: the largest d_h over a rollout's decisions and their leading actions."""
        return max(float(self(chunks)[: self.leading].max()) for chunks in rollout.chunks)


@dataclass(frozen=True, eq=False)
class TrustedHorizon:
    """The number of leading actions of a chunk to trust.

    Attributes:
        dispersion: measures how far apart the samples are.
        limit: q, the dispersion up to which they agree.
    """

    dispersion: Dispersion
    limit: float

    def __call__(self, chunks: NDArray[np.float32]) -> int:
        """Return the number of leading actions that the samples (B, H, D) agree on, 0 to H."""
        # Not `> limit`: where the dispersion is NaN, no action is trusted.
        apart = ~(self.dispersion(chunks) <= self.limit)
        return int(apart.argmax()) if apart.any() else len(apart)


def calibrate_limit(largest: Sequence[float], alpha: float) -> float:
    """Return q for the largest dispersions c_i of n rollouts.

    Raises:
        CalibrationError: n is too small for alpha.
    """
    return finite_sample_quantile(np.array(largest), alpha)
