# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of consecutive action chunks that are about the same time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.executed_actions import ExecutedActions
from failure_monitor.scores.base.sampled_chunks import require_second_decisions
from failure_monitor.scores.base.score import ScoreState, ScoreUndefinedError, TransitionScore


class ChunkOverlapScore(TransitionScore):
    """A score of what was planned at the decision before and what is planned now."""

    def __init__(
        self,
        *,
        executed: ExecutedActions,
        weights: NDArray[np.float32],
        horizon: int | None = None,
        guided: int = 0,
    ) -> None:
        """Set how chunks are compared.

        Args:
            executed: k, how many actions are executed before the next decision.
            weights: (D,), what each action is multiplied with.
            horizon: H; None where a constant k is known to be less.
            guided: g, how many leading actions of a chunk are led to what is being executed.
        """
        self._executed = executed
        self._horizon = horizon
        self._guided = guided
        self._weights = weights

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> ChunkOverlapScore:
        """Fit the actions' scales to the rollouts.

        Raises:
            ScoreUndefinedError: chunks do not overlap, it is unknown how many actions are
                executed, or no rollout has a second decision.
        """
        executed = ExecutedActions.of(policy, rollouts, cls.name)
        if executed.usual + policy.guided_actions >= policy.horizon:
            raise ScoreUndefinedError(_why_no_overlap(cls.name, executed.usual, policy))
        require_second_decisions(rollouts, cls.name)
        return cls(
            executed=executed,
            horizon=policy.horizon,
            guided=policy.guided_actions,
            weights=action_weights(rollouts),
        )

    def inputs(self, rollout: Rollout) -> NDArray[np.float32]:
        """Return the scaled chunks, (T, B, H, D)."""
        return rollout.chunks * self._weights

    def are_comparable(self, gaps: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether chunks of decisions so many nanoseconds apart overlap, (N,)."""
        if self._horizon is None:
            return super().are_comparable(gaps)
        return self._executed.counts(gaps) + self._guided < self._horizon

    def compare(
        self,
        before: NDArray[np.floating],
        now: NDArray[np.floating],
        gaps: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the comparison of the parts that are about the same time, (N,)."""
        scores = np.full(len(now), np.nan)
        executed, comparable = self._executed.counts(gaps), self.are_comparable(gaps)
        for count in np.unique(executed[comparable]):
            those = executed == count
            scores[those] = self.compare_overlaps(
                before[those, :, count + self._guided :],
                now[those, :, self._guided : now.shape[2] - count],
            )
        return scores

    @staticmethod
    @abstractmethod
    def compare_overlaps(
        before: NDArray[np.floating], now: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the score of N pairs of overlapping parts (N, B, H − k − g, D); (N,)."""

    def state(self) -> ScoreState:
        """Return how many actions are executed, and the scales."""
        return ScoreState(
            parameters={
                **self._executed.parameters(),
                "guided": float(self._guided),
                **({} if self._horizon is None else {"horizon": float(self._horizon)}),
            },
            arrays={"weights": self._weights},
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> ChunkOverlapScore:
        """Restore the score with stored scales."""
        # Bundles of older versions have the constant k alone, with which chunks overlap.
        horizon = state.parameters.get("horizon")
        return cls(
            executed=ExecutedActions.from_parameters(state.parameters),
            horizon=None if horizon is None else int(horizon),
            guided=int(state.parameters.get("guided", 0)),
            weights=state.arrays["weights"].astype(np.float32),
        )


def _why_no_overlap(score: str, executed: int, policy: PolicyFormat) -> str:
    if executed >= policy.horizon:
        return (
            f"{score}: all {policy.horizon} actions of a chunk are executed before the next "
            "decision, so no two chunks are about the same time: execute fewer, or leave it "
            "out of the rule"
        )
    return (
        f"{score}: of {policy.horizon} actions of a chunk {executed} are executed before the next "
        f"decision, which is led to the {policy.guided_actions} after these, so nothing is left "
        "to compare: predict more, or leave it out of the rule"
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
