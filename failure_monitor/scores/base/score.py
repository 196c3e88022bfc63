# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of every score, and three kinds of scores: by how much of the past they use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.errors import FailureMonitorError

if TYPE_CHECKING:
    from failure_monitor.scores.base.folded_score import FoldedScore


class ScoreUndefinedError(FailureMonitorError):
    """A score that means nothing for this policy or these rollouts."""


@dataclass(frozen=True, eq=False)
class ScoreState:
    """All that a fitted score is made of, to be stored in a bundle.

    Attributes:
        parameters: single numbers.
        arrays: arrays of numbers.
        models: serialised ONNX models.
        scores: the restored scores that the score weighs; not stored themselves.
    """

    parameters: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    models: dict[str, bytes] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()


class Score(ABC):
    """A number per decision, larger is worse, from one rollout's past only.

    `update` is the streaming form and `score_rollout` the vectorised one; they agree.

    Attributes:
        name: of the score, in commands, bundles and messages.
        meaning: what is wrong where the score is above its threshold, for an operator.
        first_defined: the number of the first decision of a rollout that can have the score;
            both forms give NaN before it, and then a finite number wherever it is defined.
        follows_rollout: whether the score depends on when the rollout began.
        needs_positions: whether it needs measured positions of the robot.
        joint_quantities: the quantities of joints that it needs, as `JointMotion` names them.
        command_names: the values of commands as sent that it needs, likewise.
        needs_tokens: whether it needs tokens of the policy's network.
    """

    name: ClassVar[str]
    meaning: ClassVar[str] = ""
    first_defined: ClassVar[int] = 0
    follows_rollout: ClassVar[bool] = False
    needs_positions: bool = False
    needs_tokens: bool = False
    joint_quantities: tuple[str, ...] = ()
    command_names: tuple[str, ...] = ()

    @property
    def needs_joints(self) -> bool:
        """Whether it needs what joints did between decisions."""
        return bool(self.joint_quantities)

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0) -> Score:
        """Fit the score on successful rollouts. A `NetworkScore` is trained in `fitting` instead.

        Raises:
            ScoreUndefinedError: the score means nothing for this policy or these rollouts.
        """
        raise NotImplementedError(
            f"{cls.name} is trained by failure_monitor.calibration.fitting.fit"
        )

    @classmethod
    def fit_folds(
        cls,
        rollouts: Sequence[Rollout],
        folds: NDArray[np.int64],
        policy: PolicyFormat,
        seed: int = 0,
    ) -> FoldedScore:
        """Fit a model for each fold, on the rollouts outside it.

        A score whose models have much in common overrides this, and `folded_from_state` with it.

        Args:
            rollouts: n successful ones.
            folds: (n,), the fold of each, from 0.
            policy: the format of their decisions.
            seed: of the training.

        Raises:
            ScoreUndefinedError: the score means nothing for this policy or these rollouts.
        """
        from failure_monitor.scores.base.folded_score import FoldedScore, outside

        return FoldedScore(
            [
                cls.fit(outside(fold, rollouts, folds), policy, seed)
                for fold in range(int(folds.max()) + 1)
            ]
        )

    @classmethod
    def folded_from_state(cls, state: ScoreState) -> FoldedScore:
        """Restore the models of all folds from the state of a `FoldedScore`, or of one model."""
        from failure_monitor.scores.base.folded_score import FoldedScore, states_of_folds

        return FoldedScore([cls.from_state(part) for part in states_of_folds(state)])

    def start_rollout(self) -> None:  # noqa: B027
        """Forget the past: the next decision is a rollout's first. Many scores have no past."""

    def resume(self, number: int, *, stopped: bool = False) -> None:  # noqa: B027
        """Continue after decisions that were not seen: the next one has this number.

        Args:
            number: of the next decision in the rollout.
            stopped: whether the policy was stopped in between, so that not all was executed.
        """

    def is_defined_for(self, decision: Decision) -> bool:
        """Return whether the next decision has the score: not where too little is known."""
        return True

    def defined(self, rollout: Rollout) -> NDArray[np.bool_]:
        """Return which decisions of a rollout have the score, (T,)."""
        return np.arange(len(rollout)) >= self.first_defined

    @abstractmethod
    def update(self, decision: Decision) -> float:
        """Return the score of the next decision."""

    @abstractmethod
    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the score of every decision, (T,)."""

    @abstractmethod
    def state(self) -> ScoreState:
        """Return the state from which `from_state` restores the score."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: ScoreState) -> Score:
        """Restore a score from its state."""

    @classmethod
    def weighed_states(cls, state: ScoreState) -> dict[str, ScoreState]:
        """Return the states of the scores that a stored score weighs, by their names.

        They are restored first and handed to `from_state` as `ScoreState.scores`.
        """
        return {}


class InstantScore(Score):
    """A score of a decision alone: `score_rollout` is all that it must define."""

    def update(self, decision: Decision) -> float:
        """Return the score of the decision."""
        return float(self.score_rollout(_as_rollout(decision))[0])


class TransitionScore(Score):
    """A score of a decision and the one before it: undefined at a rollout's first."""

    first_defined = 1
    _before: tuple[int, NDArray[np.floating]] | None = None

    def start_rollout(self) -> None:
        """Forget the decision before."""
        self._before = None

    def resume(self, number: int, *, stopped: bool = False) -> None:
        """Continue after decisions that were not seen, so that the next one has no step."""
        self._before = None

    def is_defined_for(self, decision: Decision) -> bool:
        """Return whether the decision before was seen, and the two can be compared."""
        return self._before is not None and bool(
            self.are_comparable(_gap(self._before[0], decision.stamp))[0]
        )

    def defined(self, rollout: Rollout) -> NDArray[np.bool_]:
        """Return which decisions of a rollout have the score, (T,)."""
        return np.concatenate([[False], self.are_comparable(np.diff(rollout.nanoseconds))])

    def update(self, decision: Decision) -> float:
        """Return the score of the step from the last decision; NaN where there is none."""
        now = self.inputs(_as_rollout(decision))
        last, self._before = self._before, (decision.stamp, now)
        if last is None:
            return np.nan
        stamp, before = last
        return float(self.compare(before, now, _gap(stamp, decision.stamp))[0])

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return NaN, and the score of every step from one decision to the next; (T,)."""
        seen = self.inputs(rollout)
        scores = self.compare(seen[:-1], seen[1:], np.diff(rollout.nanoseconds))
        return np.concatenate([[np.nan], scores])

    def are_comparable(self, gaps: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether decisions so many nanoseconds apart can be compared, (N,)."""
        return np.ones(len(gaps), dtype=bool)

    @abstractmethod
    def inputs(self, rollout: Rollout) -> NDArray[np.floating]:
        """Return what is compared of every decision, (T, …)."""

    @abstractmethod
    def compare(
        self,
        before: NDArray[np.floating],
        now: NDArray[np.floating],
        gaps: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the score of N steps; NaN where the two decisions cannot be compared.

        Args:
            before: what was seen at the decision before, (N, …).
            now: what was seen at the next, (N, …).
            gaps: the nanoseconds between them, (N,).
        """


class CountedDecisions:
    """Numbers the decisions of a rollout, for a score that depends on their numbers."""

    follows_rollout = True
    _number: int = 0

    def start_rollout(self) -> None:
        """Count from 0."""
        self._number = 0

    def resume(self, number: int, *, stopped: bool = False) -> None:
        """Go on counting from there."""
        self._number = number

    def next_number(self) -> int:
        """Return the number of the next decision, and count it."""
        number, self._number = self._number, self._number + 1
        return number


class TimedScore(CountedDecisions, Score):
    """A score of a decision and of its number in the rollout."""

    def update(self, decision: Decision) -> float:
        """Return the score of the next decision."""
        number = np.array([self.next_number()])
        return float(self.score_decisions(_as_rollout(decision), number)[0])

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the score of every decision, (T,)."""
        return self.score_decisions(rollout, np.arange(len(rollout)))

    @abstractmethod
    def score_decisions(self, rollout: Rollout, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores of decisions, given their numbers (T,) in the rollout; (T,)."""


def _gap(before: int, now: int) -> NDArray[np.float64]:
    """Return the nanoseconds from one stamp to another, (1,)."""
    return np.array([now - before], dtype=np.float64)


def _as_rollout(decision: Decision) -> Rollout:
    """Return a rollout of that decision, without a copy of it."""
    return Rollout(
        name="the decision",
        stamps=np.array([1e-9 * decision.stamp]),
        embeddings=decision.embedding[np.newaxis],
        chunks=decision.chunks[np.newaxis],
        positions=None if decision.positions is None else decision.positions[np.newaxis],
        external={name: np.array([value]) for name, value in decision.external.items()},
        joints=None if decision.joints is None else decision.joints.as_rollout(),
        tokens=None if decision.tokens is None else decision.tokens[np.newaxis],
    )
