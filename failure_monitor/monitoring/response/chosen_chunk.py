# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Chosen chunk: which of the B sampled chunks of a decision to execute.

first         the first sample, as an unsteered policy does
medoid        argmin_b Σ_c ‖x_b − x_c‖₂, x_b the positions that sample b reaches
pseudo_count  argmin_b of the pseudo-count's novelty of embedding and chunk b
retrieval     argmin_b min_i ‖a_b − a_i‖₂, a_i the chunks on similar observations
"""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision
from failure_monitor.scores.base.reached_positions import ReachedPositions


@runtime_checkable
class SampleScore(Protocol):
    """A score of each sampled chunk of one decision."""

    name: ClassVar[str]

    def score_samples(self, decision: Decision) -> NDArray[np.floating]:
        """Return the score that each sampled chunk would have if it were executed, (B,)."""


class Medoid:
    """A score of each sample by its distances to all other samples."""

    name: ClassVar[str] = "medoid"

    def __init__(self, positions: ReachedPositions) -> None:
        """Create the score.

        Args:
            positions: turns chunks into the positions that they reach, which are compared.
        """
        self._positions = positions

    def score_samples(self, decision: Decision) -> NDArray[np.float32]:
        """Return the sum of each sample's distances to all samples, (B,)."""
        positions = self._positions(decision.chunks)
        points = positions.reshape(len(positions), -1)
        # Relative to their mean: otherwise rounding errors of the squares would dominate.
        points = points - points.mean(axis=0)
        squared_norms = np.einsum("bf,bf->b", points, points)
        squares = points @ (-2.0 * points.T)
        squares += squared_norms
        squares += squared_norms[:, np.newaxis]
        np.maximum(squares, 0.0, out=squares)
        return np.asarray(np.sqrt(squares, out=squares).sum(axis=1))


def chosen_chunk(score: SampleScore, decision: Decision) -> int:
    """Return the number of the sample with the smallest score; NaN counts as the largest.

    Of several samples with the smallest score it is the first.
    """
    scores = score.score_samples(decision)
    return int(np.argmin(np.where(np.isnan(scores), np.inf, scores)))
