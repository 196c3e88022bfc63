# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Trusted horizon: how many leading actions of a chunk the samples agree on.

With x_bhp the position that sample b reaches after h actions in dimension p, and u_p the root mean
square, over fitting decisions, of its standard deviation over the samples after k actions,

    d_h = sqrt(mean_p var_b(x_bhp) / u_p²)

is 1 where the samples are as far apart as they usually are at the end of the k leading actions.
The trusted horizon is the number of actions before the first with d_h above a limit q. With
c_i = max over time and h ≤ k of d_h in a successful rollout i, and q the ⌈(n+1)(1−alpha)⌉-th
smallest of n of them, a successful rollout is ever trusted for less than k actions with a chance
of at most alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.monitoring.response.reached_positions import ReachedPositions
from failure_monitor.scores.base.sampled_chunks import require_differing_samples
from failure_monitor.thresholds.conformal import finite_sample_quantile

NAME = "the trusted horizon"

SMALLEST_SHARE = 0.01
"""Of the widest dimension's usual dispersion: one that never disperses has none of its own."""


@dataclass(frozen=True, eq=False)
class Dispersion:
    """How far apart the samples of a decision are after each action.

    Attributes:
        positions: what the actions lead to.
        usual: float64 (P,), u_p.
        leading: k, the number of actions to which `usual` refers.
    """

    positions: ReachedPositions
    usual: NDArray[np.float64]
    leading: int

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, leading: int) -> Dispersion:
        """What is usual in rollouts.

        Raises:
            ScoreUndefinedError: one sample per decision, or samples that never differ.
        """
        require_differing_samples(rollouts, policy, NAME)
        positions = ReachedPositions.of(policy)
        variances = [
            positions(rollout.chunks)[:, :, leading - 1].var(axis=1, dtype=np.float64)
            for rollout in rollouts
        ]
        usual = np.sqrt(np.concatenate(variances).mean(axis=0))
        return cls(positions, np.maximum(usual, SMALLEST_SHARE * usual.max()), leading)

    def __call__(self, chunks: NDArray[np.float32]) -> NDArray[np.float64]:
        """d_h of chunks (B, H, D), (H,)."""
        positions = self.positions(chunks)
        # About the first sample, which is near: squares about 0 would cancel.
        apart = (positions - positions[0]).reshape(len(positions), -1)
        squares = np.einsum("bf,bf->f", apart, apart) / len(apart)
        variance = np.maximum(squares - apart.mean(axis=0) ** 2, 0.0).reshape(positions.shape[1:])
        return np.asarray(np.sqrt((variance / self.usual**2).mean(axis=1)))

    def largest(self, rollout: Rollout) -> float:
        """c_i: the largest d_h over a rollout's decisions and their leading actions."""
        return max(float(self(chunks)[: self.leading].max()) for chunks in rollout.chunks)


@dataclass(frozen=True, eq=False)
class TrustedHorizon:
    """How many leading actions of a chunk to trust.

    Attributes:
        dispersion: how far apart the samples are.
        limit: q, up to where they agree.
    """

    dispersion: Dispersion
    limit: float

    def __call__(self, chunks: NDArray[np.float32]) -> int:
        """The number of leading actions that the samples (B, H, D) agree on, 0 to H."""
        # Not `> limit`: a dispersion that is NaN is none to trust.
        apart = ~(self.dispersion(chunks) <= self.limit)
        return int(apart.argmax()) if apart.any() else len(apart)


def calibrate_limit(largest: Sequence[float], alpha: float) -> float:
    """q, of the largest dispersions c_i of n rollouts.

    Raises:
        CalibrationError: n is too small for alpha.
    """
    return finite_sample_quantile(np.array(largest), alpha)
