# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Tracking: whether the robot moves as it is commanded.

Between two decisions the first k actions of the executed chunk are carried out. Of each position
dimension d,

    commanded c_d = Σ_{h<k} a_hd, or a_{k−1,d} − p_d where actions are positions
    measured  m_d = p'_d − p_d,   p and p' the measured positions at the two decisions

a line m ≈ α c + β is fitted to successful rollouts, which knows the controller's gain and the
units, and the score is the root mean square over dimensions of the residual m − αc − β, each
divided by its size over the fitting rollouts. Undefined at a rollout's first decision, and where
no action was executed since the last. It sees an arm that is stuck, pushed or overloaded, which
the policy's own outputs do not show.
De Luca and Mattone, "Actuator failure detection and isolation using generalized momenta", ICRA
2003, is the classical residual of this kind, with a model of the robot instead of a line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import InvalidDecisionError, PolicyFormat, Rollout
from failure_monitor.scores.base.executed_actions import ExecutedActions
from failure_monitor.scores.base.sampled_chunks import require_second_decisions
from failure_monitor.scores.base.score import ScoreState, ScoreUndefinedError, TransitionScore

MIN_RESIDUAL = 1e-3
"""As a share of the measured motion: no robot counts as tracking more exactly."""


class Tracking(TransitionScore):
    """The residual of the measured against the commanded motion."""

    name = "tracking"
    meaning = "the robot does not go where it is commanded"
    needs_positions = True

    def __init__(
        self,
        *,
        indices: NDArray[np.int64],
        executed: ExecutedActions,
        are_positions: bool,
        line: NDArray[np.float64],
        residual: NDArray[np.float64],
    ) -> None:
        """Create the score from how the robot follows commands.

        Args:
            indices: (P,), which action dimensions are positions.
            executed: k, how many actions are executed before the next decision.
            are_positions: whether these actions are positions, not velocities or deltas.
            line: (2, P), α and β.
            residual: (P,), the residual's size; infinite for a dimension that never moves.
        """
        self._indices = indices
        self._executed = executed
        self._are_positions = are_positions
        self._line = line
        self._residual = residual

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0) -> Tracking:
        """Fit the lines to the rollouts.

        Raises:
            ScoreUndefinedError: positions were not measured or never change, it is unknown how
                many actions are executed, or no rollout has a second decision.
        """
        executed = ExecutedActions.of(policy, rollouts, cls.name)
        for rollout in rollouts:
            if rollout.positions is None:
                raise ScoreUndefinedError(
                    f"{cls.name}: {rollout.name} has no measured positions: name their topic "
                    "(--positions-topic), or record them in an archive as 'ee_pos', or leave this "
                    "score out of the rule"
                )
        require_second_decisions(rollouts, cls.name)
        indices = np.array(policy.position_indices, dtype=np.int64)
        are_positions = policy.action_kind == "position"
        steps = []
        for rollout in rollouts:
            seen = _commands_and_positions(rollout, indices, are_positions)
            steps.append(
                _steps(seen[:-1], seen[1:], executed.counts(np.diff(rollout.nanoseconds)))
            )
        commanded, measured = np.concatenate(steps, axis=1)
        happened = np.isfinite(commanded).all(axis=1)
        commanded, measured = commanded[happened], measured[happened]
        if not measured.any():
            raise ScoreUndefinedError(
                f"{cls.name}: the measured positions never change from one decision to the next: "
                "check what was recorded, or leave this score out of the rule"
            )
        line = np.stack(
            [_line(c, m) for c, m in zip(commanded.T, measured.T, strict=True)], axis=1
        )
        left = measured - line[0] * commanded - line[1]
        moved = np.sqrt(np.mean(measured**2, axis=0))
        residual = np.maximum(np.sqrt(np.mean(left**2, axis=0)), MIN_RESIDUAL * moved)
        return cls(
            indices=indices,
            executed=executed,
            are_positions=are_positions,
            line=line,
            residual=np.where(moved > 0, residual, np.inf),
        )

    def inputs(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return what each action moves the robot to, and where it is: (T, H + 1, P).

        Raises:
            InvalidDecisionError: the positions were not measured.
        """
        if rollout.positions is None:
            raise InvalidDecisionError(
                f"{rollout.name} has no measured positions, which the score {self.name} needs "
                "(of bags with --positions-topic): read them, or calibrate a rule without it"
            )
        return _commands_and_positions(rollout, self._indices, self._are_positions)

    def are_comparable(self, gaps: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether anything is executed in so many nanoseconds, (N,)."""
        return self._executed.counts(gaps) > 0

    def compare(
        self,
        before: NDArray[np.floating],
        now: NDArray[np.floating],
        gaps: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the size of the residual of every step, (N,)."""
        commanded, measured = _steps(before, now, self._executed.counts(gaps))
        scaled = (measured - self._line[0] * commanded - self._line[1]) / self._residual
        moving = np.isfinite(self._residual).sum()
        return np.asarray(np.sqrt(np.sum(scaled**2, axis=1) / moving))

    def state(self) -> ScoreState:
        """Return the lines and the residuals' sizes."""
        return ScoreState(
            parameters={
                **self._executed.parameters(),
                "are_positions": float(self._are_positions),
            },
            arrays={"indices": self._indices, "line": self._line, "residual": self._residual},
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> Tracking:
        """Restore the score with stored lines."""
        return cls(
            indices=state.arrays["indices"].astype(np.int64),
            executed=ExecutedActions.from_parameters(state.parameters),
            are_positions=bool(state.parameters["are_positions"]),
            line=state.arrays["line"].astype(np.float64),
            residual=state.arrays["residual"].astype(np.float64),
        )


def _commands_and_positions(
    rollout: Rollout, indices: NDArray[np.int64], are_positions: bool
) -> NDArray[np.float64]:
    """Return the motion that is commanded up to each action, and the position; (T, H + 1, P)."""
    positions = np.asarray(rollout.positions, dtype=np.float64)[:, np.newaxis]
    actions = rollout.chunks[:, 0][..., indices].astype(np.float64)
    commanded = actions - positions if are_positions else np.cumsum(actions, axis=1)
    return np.concatenate([commanded, positions], axis=1)


def _steps(
    before: NDArray[np.floating], now: NDArray[np.floating], executed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the commanded and the measured motions of N steps, (2, N, P).

    Where nothing was executed, the commanded motion is NaN.
    """
    # The robot waits at the end of a chunk of which more actions are due than it has.
    last = np.minimum(executed, before.shape[1] - 1) - 1
    commanded = before[np.arange(len(before)), last]
    commanded = np.where(executed[:, np.newaxis] > 0, commanded, np.nan)
    return np.stack([commanded, now[:, -1] - before[:, -1]])


def _line(commanded: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of measured on commanded motions (N,): slope and offset, (2,)."""
    design = np.stack([commanded, np.ones_like(commanded)], axis=1)
    line, *_ = np.linalg.lstsq(design, measured)
    return np.asarray(line)
