# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reversal rate: how often the executed motion turns back.

Of the velocities v of the actions that were executed so far, one after the other over all
decisions (the actions themselves, or the differences of actions that are positions):

    score = sign changes of v since the decision before, per executed action and dimension

The rule's window makes it a rate over several decisions. A velocity counts for nothing if it is
less than a quarter of the root mean square of its dimension over the fitting rollouts, so that a
robot that stands and trembles does not turn back. It needs one sample per decision only, and is
undefined at a rollout's first, before which nothing was executed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.scores.base.executed_actions import ExecutedActions
from failure_monitor.scores.base.sampled_chunks import require_second_decisions
from failure_monitor.scores.base.score import Score, ScoreState, ScoreUndefinedError

STANDING = 0.25
"""Velocities below this share of the usual ones have no direction."""


class ReversalRate(Score):
    """Sign changes of the executed velocities."""

    name = "reversal_rate"
    meaning = "the executed motion turns back and forth"
    first_defined = 1

    def __init__(
        self,
        *,
        executed: ExecutedActions,
        indices: NDArray[np.int64],
        are_positions: bool,
        least: NDArray[np.float64],
    ) -> None:
        """Set which velocities have a direction.

        Args:
            executed: k, how many actions are executed before the next decision.
            indices: (P,), which action dimensions move the robot.
            are_positions: whether these actions are positions, not velocities or deltas.
            least: (P,), the least velocities that have one; infinite where nothing ever moves.
        """
        self._executed = executed
        self._indices = indices
        self._are_positions = are_positions
        self._least = least
        self.start_rollout()

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0) -> ReversalRate:
        """Take the usual velocities from the rollouts' executed actions.

        Raises:
            ScoreUndefinedError: it is unknown how many actions are executed, nothing ever moves,
                or no rollout has a second decision.
        """
        executed = ExecutedActions.of(policy, rollouts, cls.name)
        require_second_decisions(rollouts, cls.name)
        indices = np.array(policy.position_indices, dtype=np.int64)
        are_positions = policy.action_kind == "position"
        # Two positions make a velocity.
        leading = min(executed.usual + are_positions, policy.horizon)
        actions = np.concatenate([rollout.chunks[:, 0, :leading] for rollout in rollouts])
        moved = actions[..., indices].astype(np.float64)
        velocities = np.diff(moved, axis=1) if are_positions else moved
        usual = np.sqrt(np.mean(velocities**2, axis=(0, 1)))
        if not usual.any():
            raise ScoreUndefinedError(
                f"{cls.name}: no executed chunk ever moves, so nothing can turn back: check the "
                "action kind, or leave it out of the rule"
            )
        least = np.where(usual > 0, STANDING * usual, np.inf)
        return cls(executed=executed, indices=indices, are_positions=are_positions, least=least)

    def start_rollout(self) -> None:
        """Forget all that was executed."""
        self._before: tuple[int, NDArray[np.float64]] | None = None
        self._last: NDArray[np.float64] | None = None
        self._signs = np.zeros(len(self._indices))

    def resume(self, number: int, *, stopped: bool = False) -> None:
        """Continue after decisions that were not seen, so that what was executed is unknown."""
        self.start_rollout()

    def is_defined_for(self, decision: Decision) -> bool:
        """Return whether something was executed since the decision before."""
        return self._before is not None and self._count(self._before[0], decision.stamp) > 0

    def defined(self, rollout: Rollout) -> NDArray[np.bool_]:
        """Return which decisions of a rollout have the score, (T,)."""
        counts = self._executed.counts(np.diff(rollout.nanoseconds))
        return np.concatenate([[False], counts > 0])

    def update(self, decision: Decision) -> float:
        """Return the rate since the decision before; NaN where nothing was executed."""
        chunk = decision.chunks[0][:, self._indices].astype(np.float64)
        before, self._before = self._before, (decision.stamp, chunk)
        if before is None:
            return np.nan
        stamp, plan = before
        executed = plan[: self._count(stamp, decision.stamp)]
        return self._rate(executed) if len(executed) else np.nan

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the rate at every decision, (T,)."""
        score = type(self)(
            executed=self._executed,
            indices=self._indices,
            are_positions=self._are_positions,
            least=self._least,
        )
        return np.array([score.update(decision) for decision in rollout.decisions()])

    def _count(self, before: int, now: int) -> int:
        return self._executed.between(before, now)

    def _rate(self, actions: NDArray[np.float64]) -> float:
        """Return the rate of actions (k, P) that were executed after those before."""
        velocities = actions
        if self._are_positions:
            known = actions if self._last is None else np.concatenate([[self._last], actions])
            velocities, self._last = np.diff(known, axis=0), actions[-1]
        signs = np.where(np.abs(velocities) > self._least, np.sign(velocities), 0.0)
        signs = np.concatenate([[self._signs], signs])
        # Each step has the direction of the last that had one.
        places = np.where(signs != 0, np.arange(len(signs))[:, np.newaxis], 0)
        signs = np.take_along_axis(signs, np.maximum.accumulate(places, axis=0), axis=0)
        self._signs = signs[-1]
        return float(np.count_nonzero(signs[1:] * signs[:-1] < 0) / actions.size)

    def state(self) -> ScoreState:
        """Return the least velocities, and how many actions are executed."""
        return ScoreState(
            parameters={
                "are_positions": float(self._are_positions),
                **self._executed.parameters(),
            },
            arrays={"indices": self._indices, "least": self._least},
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> ReversalRate:
        """Restore the score with stored velocities."""
        return cls(
            executed=ExecutedActions.from_parameters(state.parameters),
            indices=state.arrays["indices"].astype(np.int64),
            are_positions=bool(state.parameters["are_positions"]),
            least=state.arrays["least"].astype(np.float64),
        )
