# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of consecutive action chunks that are about the same time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.sampled_chunks import executed_actions, require_second_decisions
from failure_monitor.scores.base.score import ScoreState, ScoreUndefinedError, TransitionScore


class ChunkOverlapScore(TransitionScore):
    """A score of what was planned at the decision before and what is planned now."""

    def __init__(self, *, executed: int, weights: NDArray[np.float32]) -> None:
        """Set how chunks are compared.

        Args:
            executed: k, how many actions are executed before the next decision.
            weights: (D,), what each action is multiplied with.
        """
        self._executed = executed
        self._weights = weights

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> ChunkOverlapScore:
        """Take the actions' scales from the rollouts.

        Raises:
            ScoreUndefinedError: chunks do not overlap, `executed_actions` is unknown, or no
                rollout has a second decision.
        """
        executed = executed_actions(policy, cls.name)
        if executed == policy.horizon:
            raise ScoreUndefinedError(
                f"{cls.name}: all {executed} actions of a chunk are executed before the next "
                "decision, so no two chunks are about the same time: execute fewer, or leave it "
                "out of the rule"
            )
        require_second_decisions(rollouts, cls.name)
        return cls(executed=executed, weights=action_weights(rollouts))

    def inputs(self, rollout: Rollout) -> NDArray[np.float32]:
        """Return the scaled chunks, (T, B, H, D)."""
        return rollout.chunks * self._weights

    def compare(
        self, before: NDArray[np.floating], now: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the comparison of the parts that are about the same time, (N,)."""
        left = now.shape[2] - self._executed
        return self.compare_overlaps(before[:, :, self._executed :], now[:, :, :left])

    @staticmethod
    @abstractmethod
    def compare_overlaps(
        before: NDArray[np.floating], now: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the score of N pairs of overlapping parts (N, B, H − k, D); (N,)."""

    def state(self) -> ScoreState:
        """Return the number of executed actions and the scales."""
        return ScoreState(
            parameters={"executed": float(self._executed)}, arrays={"weights": self._weights}
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> ChunkOverlapScore:
        """Restore the score with stored scales."""
        return cls(
            executed=int(state.parameters["executed"]),
            weights=state.arrays["weights"].astype(np.float32),
        )


def action_weights(rollouts: Sequence[Rollout]) -> NDArray[np.float32]:
    """Return 1 over the standard deviation of each action in the executed chunks, (D,); or 0.

    It makes actions of different units comparable; one that never varies weighs nothing.
    """
    actions = np.concatenate([rollout.chunks[:, 0].astype(np.float64) for rollout in rollouts])
    deviation = actions.std(axis=(0, 1))
    varies = deviation > 1e-6 * np.abs(actions).max(axis=(0, 1))
    weights = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return np.asarray(weights, dtype=np.float32)
