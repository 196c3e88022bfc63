# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Kinematics: how jerkily the executed chunk moves.

Of the velocities v_h of the executed chunk's position dimensions (the actions themselves, or the
differences of actions that are positions), each dimension scaled by its size:

    jerk      = root mean square over h of ‖v_{h+1} − 2 v_h + v_{h−1}‖
    variation = mean over h of ‖v_{h+1} − v_h‖

    score = mean of the two, each divided by its root mean square over the fitting rollouts

It needs one sample per decision only. How often the motion turns back is the score
`reversal_rate`; in bundles of older versions it is a third part of this one, before the two. Jerk
is the measure of smoothness of Flash and Hogan, "The Coordination of Arm Movements", Journal of
Neuroscience 1985, up to the time step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.score import InstantScore, ScoreState, ScoreUndefinedError

MIN_VELOCITIES = 3
"""Jerk is the second difference of velocities."""
NEGLIGIBLE = 1e-5
"""What is smaller than this share of the largest is a rounding error of single precision."""


class Kinematics(InstantScore):
    """Jerk and variation of the executed chunk."""

    name = "kinematics"
    meaning = "the motion is jerky"

    def __init__(
        self,
        *,
        indices: NDArray[np.int64],
        are_positions: bool,
        sizes: NDArray[np.float64],
        scales: NDArray[np.float64],
    ) -> None:
        """Set how motions are measured.

        Args:
            indices: (P,), which action dimensions move the robot.
            are_positions: whether these actions are positions, not velocities or deltas.
            sizes: (P,), of the velocities; infinite where a dimension never moves.
            scales: (2,), of jerk and variation, or (3,), of reversals before them; infinite where
                one never occurs.
        """
        self._indices = indices
        self._are_positions = are_positions
        self._sizes = sizes
        self._scales = scales

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0) -> Kinematics:
        """Take all scales from the rollouts' executed chunks.

        Raises:
            ScoreUndefinedError: chunks are too short to have jerk, or all their motions are even.
        """
        are_positions = policy.action_kind == "position"
        needed = MIN_VELOCITIES + are_positions
        if policy.horizon < needed:
            raise ScoreUndefinedError(
                f"{cls.name}: a chunk of {policy.horizon} actions is too short to have jerk, "
                f"{needed} are needed: predict more, or leave it out of the rule"
            )
        indices = np.array(policy.position_indices, dtype=np.int64)
        motions = [_velocities(rollout, indices, are_positions) for rollout in rollouts]
        velocities = np.concatenate(motions)
        sizes = _sizes(velocities.reshape(-1, len(indices)))
        scales = _sizes(_unevenness(velocities / sizes)[:, 1:])
        if np.isinf(scales).all():
            raise ScoreUndefinedError(
                f"{cls.name}: every executed chunk moves evenly, so there is nothing to compare "
                "with: check the action kind, or leave it out of the rule"
            )
        return cls(indices=indices, are_positions=are_positions, sizes=sizes, scales=scales)

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the mean of what has a scale at every decision, (T,)."""
        velocities = _velocities(rollout, self._indices, self._are_positions)
        scaled = _unevenness(velocities / self._sizes)[:, -len(self._scales) :] / self._scales
        return np.asarray(scaled.sum(axis=1) / np.isfinite(self._scales).sum())

    def state(self) -> ScoreState:
        """Return the scales."""
        return ScoreState(
            parameters={"are_positions": float(self._are_positions)},
            arrays={"indices": self._indices, "sizes": self._sizes, "scales": self._scales},
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> Kinematics:
        """Restore the score with stored scales."""
        return cls(
            indices=state.arrays["indices"].astype(np.int64),
            are_positions=bool(state.parameters["are_positions"]),
            sizes=state.arrays["sizes"].astype(np.float64),
            scales=state.arrays["scales"].astype(np.float64),
        )


def _velocities(
    rollout: Rollout, indices: NDArray[np.int64], are_positions: bool
) -> NDArray[np.float64]:
    """Return the velocities of the executed chunks, per control step: (T, H or H − 1, P)."""
    actions = rollout.chunks[:, 0][..., indices].astype(np.float64)
    return np.diff(actions, axis=1) if are_positions else actions


def _unevenness(velocities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return reversals, jerk and variation of motions (T, H, P): (T, 3)."""
    reverses = np.sum(velocities[:, 1:] * velocities[:, :-1], axis=-1) < 0
    jerks = np.sum(np.diff(velocities, n=2, axis=1) ** 2, axis=-1)
    changes = np.linalg.norm(np.diff(velocities, axis=1), axis=-1)
    return np.stack(
        [reverses.mean(axis=1), np.sqrt(jerks.mean(axis=1)), changes.mean(axis=1)], axis=1
    )


def _sizes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root mean square of each column of (N, C), (C,).

    Infinite instead of 0 and rounding errors of 0, so that what is divided by it does not count.
    """
    sizes = np.sqrt(np.mean(values**2, axis=0))
    return np.where(sizes > NEGLIGIBLE * sizes.max(), sizes, np.inf)
