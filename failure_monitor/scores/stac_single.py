# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Temporal consistency of a policy with one sample per decision (STAC-single).

The executed chunk a of a decision and the one a' before it overlap in time once the first k
actions of a' are executed:

    score = mean_h ‖a'_{k+h} − a_h‖₂,    h = g … H − k − 1

with g leading actions that are led to what is being executed, usually 0, and actions scaled to
unit variance. Undefined at a rollout's first decision, and where nothing overlaps. It compares
single samples, so that a policy with several ways to go on is inconsistent without being wrong;
with more samples use `temporal_consistency`.
Agia et al., "Unpacking Failure Modes of Generative Policies" (Sentinel), CoRL 2024.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.chunk_overlap import ChunkOverlapScore


class SingleSampleConsistency(ChunkOverlapScore):
    """The distance between what was planned and what is planned now, for the same time."""

    name = "stac_single"
    meaning = "the policy changes its mind"

    def inputs(self, rollout: Rollout) -> NDArray[np.float32]:
        """Return the scaled executed chunks, (T, 1, H, D)."""
        return rollout.chunks[:, :1] * self._weights

    @staticmethod
    def compare_overlaps(
        before: NDArray[np.floating], now: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the mean distance of every pair of executed chunks, (N,)."""
        apart = before[:, 0].astype(np.float64) - now[:, 0]
        return np.asarray(np.linalg.norm(apart, axis=-1).mean(axis=-1))
