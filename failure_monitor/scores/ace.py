# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Action-chunk entropy (ACE): how much the sampled action chunks disagree.

At every future step h the positions that the B sampled chunks reach are counted in a fixed grid:

    E_h = −Σ_c p_c log2 p_c,    p_c = (samples in cell c) / B,    score = mean_h E_h

of those steps that are not led to what is being executed. In [0, log2 B]: 0 where all samples fall
into one cell, log2 B where no two do. A sample so far off the grid that single precision cannot
tell its cell has one of its own, so it agrees with none.
Römer et al., "Failure Prediction at Runtime for Generative Robot Policies" (FIPER), NeurIPS 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.reached_positions import sums_over_steps
from failure_monitor.scores.base.sampled_chunks import require_differing_samples
from failure_monitor.scores.base.score import InstantScore, ScoreState

CELL_FACTOR = 0.03
"""The side of a grid cell as a share of a dimension's range over the fitting rollouts."""
FARTHEST_CELL = 2.0**23
"""From the grid's corner; further off, neighbours of single precision are cells apart."""


class ActionChunkEntropy(InstantScore):
    """Entropy of the samples' positions, binned jointly over the position dimensions."""

    name = "ace"
    meaning = "the sampled actions disagree"

    def __init__(
        self,
        *,
        anchor: NDArray[np.float64],
        cell: NDArray[np.float64],
        indices: NDArray[np.int64],
        integrate: bool,
        guided: int = 0,
    ) -> None:
        """Create the score with a fixed grid.

        Args:
            anchor: (P,), a corner of the grid, in the units of the positions. It is fixed once:
                a grid anchored at each step's own samples jumps when they shift a little.
            cell: (P,), the sides of a cell.
            indices: (P,), which action dimensions are positions.
            integrate: whether actions are velocities or deltas, to be summed up first.
            guided: how many leading actions are led to what is being executed, in all samples.
        """
        self._anchor = anchor
        self._cell = cell
        self._indices = indices
        self._integrate = integrate
        self._guided = guided
        # Cells are compared by a hash that wraps around: exact but for a chance of B² / 2⁶⁴,
        # for any number of dimensions and however far off the grid a sample lies.
        self._hash = np.random.default_rng(0).integers(1, 2**62, size=len(cell)) * 2 + 1

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> ActionChunkEntropy:
        """Span the grid over the positions in the fitting rollouts.

        Raises:
            ScoreUndefinedError: one sample per decision, or samples that never differ.
        """
        require_differing_samples(rollouts, policy, cls.name)
        indices = np.array(policy.position_indices, dtype=np.int64)
        integrate = policy.action_kind != "position"
        lows, highs = zip(
            *(
                (positions.min(axis=(0, 1, 2)), positions.max(axis=(0, 1, 2)))
                for positions in (
                    _positions(rollout.chunks, indices, integrate, policy.guided_actions)
                    for rollout in rollouts
                )
            ),
            strict=True,
        )
        low, high = np.min(lows, axis=0), np.max(highs, axis=0)
        span = high - low
        # A dimension that never moved has no range of its own.
        span[span == 0] = span.max()
        return cls(
            anchor=low,
            cell=CELL_FACTOR * span,
            indices=indices,
            integrate=integrate,
            guided=policy.guided_actions,
        )

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the mean entropy over the chunk's steps at every decision, (T,), in bits."""
        positions = _positions(rollout.chunks, self._indices, self._integrate, self._guided)
        cells = np.floor((positions - self._anchor) / self._cell)
        if max(cells.max(), -cells.min()) > FARTHEST_CELL:
            cells = _with_cells_of_their_own(cells)
        return self._entropy(cells.astype(np.int64))

    def _entropy(self, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the entropy of the joint cells of all dimensions, (T, B, H, P) to (T,)."""
        return mean_entropy(cells @ self._hash)

    def state(self) -> ScoreState:
        """Return the grid."""
        return ScoreState(
            parameters={
                "integrate": float(self._integrate),
                "guided": float(self._guided),
            },
            arrays={"anchor": self._anchor, "cell": self._cell, "indices": self._indices},
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> ActionChunkEntropy:
        """Restore the score with a stored grid."""
        return cls(
            anchor=state.arrays["anchor"].astype(np.float64),
            cell=state.arrays["cell"].astype(np.float64),
            indices=state.arrays["indices"].astype(np.int64),
            integrate=bool(state.parameters["integrate"]),
            guided=int(state.parameters.get("guided", 0)),
        )


def _with_cells_of_their_own(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put each sample that is too far off the grid into a cell of its own, (T, B, H, P)."""
    own = FARTHEST_CELL + 1 + np.arange(cells.shape[1])
    too_far = np.abs(cells) > FARTHEST_CELL
    return np.where(too_far, own[:, np.newaxis, np.newaxis], cells)


def mean_entropy(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the entropy of B samples' cells, averaged over steps: (T, B, H) to (T,), in bits."""
    decisions, samples, steps = cells.shape
    cells = np.sort(cells.transpose(0, 2, 1).reshape(-1, samples), axis=1)
    is_first = np.empty(cells.shape, dtype=bool)
    is_first[:, 0] = True
    np.not_equal(cells[:, 1:], cells[:, :-1], out=is_first[:, 1:])
    starts = np.flatnonzero(is_first)
    counts = np.diff(starts, append=cells.size)
    surplus = np.bincount(
        starts // samples, weights=counts * np.log2(counts), minlength=decisions * steps
    )
    entropy: NDArray[np.float64] = np.log2(samples) - surplus / samples
    return np.asarray(entropy.reshape(decisions, steps).mean(axis=1))


def _positions(
    chunks: NDArray[np.float32], indices: NDArray[np.int64], integrate: bool, guided: int
) -> NDArray[np.float64]:
    """Return the positions that chunks (T, B, H, D) reach, (T, B, H − g, P)."""
    actions = chunks[..., indices].astype(np.float64)
    return (sums_over_steps(actions) if integrate else actions)[:, :, guided:]
