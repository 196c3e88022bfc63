# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How many actions of a chunk are executed before the next decision.

Where the control period P is known, they follow from the stamps s of the two decisions,

    k_t = round((s_{t+1} − s_t) / P)

and elsewhere k is a constant. A robot that waits while its policy decides executes no more than
that constant: the rest of the gap is the time that the policy took. k is 0 where both decisions
are of the same control step, so that nothing of the first one was executed, and above the H
actions of a chunk where the robot had executed all of them and waited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.score import ScoreUndefinedError

TIE = 1e-4
"""Control steps: a gap half-way between two numbers counts as the larger one, whatever the last
digit of its stamps is. Stamps in float seconds are some hundred nanoseconds off."""

FAR = 1_000_000.0
"""More actions than any chunk has."""


@dataclass(frozen=True)
class ExecutedActions:
    """How many actions of each chunk are executed.

    Attributes:
        usual: k where nothing else is known.
        control_period: P in seconds; None if unknown.
        most: the largest k between two decisions that follow each other; None for any.
    """

    usual: int
    control_period: float | None = None
    most: int | None = None

    @classmethod
    def of(cls, policy: PolicyFormat, rollouts: Sequence[Rollout], score: str) -> ExecutedActions:
        """Return what is known of a policy and its rollouts.

        Raises:
            ScoreUndefinedError: nothing is known; the score of that name needs it.
        """
        usual = usual_actions(policy, rollouts)
        if usual is None:
            raise ScoreUndefinedError(
                f"{score}: how many actions of a chunk are executed before the next decision is "
                "not known: give --control-period SECONDS, or the usual number as "
                "--executed-actions, or leave this score out of the rule (an archive states them "
                "in its 'meta_json', as 'control_period' and 'exec_horizon')"
            )
        return cls(usual, policy.control_period, _most(policy))

    def counts(self, gaps: NDArray[np.float64], decisions: int = 1) -> NDArray[np.int64]:
        """Return k of each gap between two decisions, in nanoseconds; (N,).

        Args:
            gaps: the times between them.
            decisions: 1 where the second follows the first, more where some were not seen.
        """
        if self.control_period is None:
            return np.full(len(gaps), self.usual)
        steps = np.floor(gaps / (1e9 * self.control_period) + 0.5 + TIE)
        most = FAR if self.most is None else self.most * decisions
        # Stamps that fall are of a clock that was set back, and tell nothing.
        return np.where(gaps < 0, self.usual, np.minimum(steps, most)).astype(np.int64)

    def between(self, before: int, now: int, decisions: int = 1) -> int:
        """Return k of the decision `before`, given the stamp of a later one; in nanoseconds.

        It is `counts` of one gap, in a tenth of the time.
        """
        gap = now - before
        if self.control_period is None or gap < 0:
            return self.usual
        steps = math.floor(gap / (1e9 * self.control_period) + 0.5 + TIE)
        most = int(FAR) if self.most is None else self.most * decisions
        return min(steps, most)

    def parameters(self) -> dict[str, float]:
        """Return what is to be stored."""
        known = {"control_period": self.control_period, "most_executed": self.most}
        return {
            "executed": float(self.usual),
            **{name: float(value) for name, value in known.items() if value is not None},
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, float]) -> ExecutedActions:
        """Return what was stored; bundles of older versions have the constant alone."""
        most = parameters.get("most_executed")
        return cls(
            int(parameters["executed"]),
            parameters.get("control_period"),
            None if most is None else int(most),
        )


def usual_actions(policy: PolicyFormat, rollouts: Sequence[Rollout]) -> int | None:
    """Return the usual number of executed actions, from 1 to H; None if nothing is known.

    It is the median by the stamps of the rollouts, or else what the policy states.
    """
    if policy.control_period is None:
        return policy.executed_actions
    gaps = np.concatenate([np.empty(0), *(np.diff(rollout.nanoseconds) for rollout in rollouts)])
    known = ExecutedActions(policy.horizon, policy.control_period, _most(policy))
    counts = known.counts(gaps)
    if not counts.any():
        return policy.executed_actions or policy.horizon
    # The lower of two middle ones, so that it is a number that occurred.
    ordered = np.sort(counts[counts > 0])
    return min(int(ordered[(len(ordered) - 1) // 2]), policy.horizon)


def _most(policy: PolicyFormat) -> int | None:
    return policy.executed_actions if policy.waits else None
