# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Scores that several models share one object for, so that what they have in common is done once.

Each of F models was fitted without one fold of the rollouts. Standardisation, random features and
what is remembered are of all rollouts, and common; regressions are of each model, and a memory is
searched once and leaves out, for each model, what its fold taught.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.base.score import CountedDecisions, Score, ScoreState

Together = TypeVar("Together", bound="TogetherScore")


class TogetherScore(Score):
    """A score of F models at once. As a plain score it is its first, mostly only, model."""

    @property
    @abstractmethod
    def models(self) -> int:
        """F, how many models there are."""

    @classmethod
    @abstractmethod
    def fit_together(
        cls: type[Together],
        rollouts: Sequence[Rollout],
        folds: NDArray[np.int64] | None,
        policy: PolicyFormat,
        seed: int = 0,
    ) -> Together:
        """Fit a model for each fold on the rollouts outside it.

        Args:
            rollouts: successful ones.
            folds: int64 (n,), the fold of each; None for a single model of them all.
            policy: the format of their decisions.
            seed: of all that is drawn.

        Raises:
            ScoreUndefinedError: the score means nothing for this policy or these rollouts.
        """

    @abstractmethod
    def update_all(self, decision: Decision) -> NDArray[np.float64]:
        """Return the score of the next decision by every model, (F,)."""

    @abstractmethod
    def score_all(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the score of every decision by every model, (T, F)."""

    @classmethod
    def fit(
        cls: type[Together], rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> Together:
        """Fit one model to the rollouts.

        Raises:
            ScoreUndefinedError: the score means nothing for this policy or these rollouts.
        """
        return cls.fit_together(rollouts, None, policy, seed)

    @classmethod
    def fit_folds(
        cls,
        rollouts: Sequence[Rollout],
        folds: NDArray[np.int64],
        policy: PolicyFormat,
        seed: int = 0,
    ) -> FoldedScore:
        """Fit a model for each fold on the rollouts outside it; all in one object.

        Raises:
            ScoreUndefinedError: the score means nothing for this policy or these rollouts.
        """
        return FoldedTogether(cls.fit_together(rollouts, folds, policy, seed))

    @classmethod
    def folded_from_state(cls, state: ScoreState) -> FoldedScore:
        """Restore the models of all folds."""
        score = cls.from_state(state)
        assert isinstance(score, TogetherScore)
        return FoldedTogether(score)

    def update(self, decision: Decision) -> float:
        """Return the score of the next decision by the first model."""
        return float(self.update_all(decision)[0])

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the score of every decision by the first model, (T,)."""
        return self.score_all(rollout)[:, 0]


class TimedTogetherScore(CountedDecisions, TogetherScore):
    """A score of a decision and of its number in the rollout, of F models at once."""

    def update_all(self, decision: Decision) -> NDArray[np.float64]:
        """Return the score of the next decision by every model, (F,)."""
        return self.score_decision(decision, self.next_number())

    def score_all(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the score of every decision by every model, (T, F)."""
        decisions = enumerate(rollout.decisions())
        return np.stack([self.score_decision(decision, number) for number, decision in decisions])

    @abstractmethod
    def score_decision(self, decision: Decision, number: int) -> NDArray[np.float64]:
        """Return the score of a decision of that number in its rollout by every model, (F,)."""


class FoldedTogether(FoldedScore):
    """The models of all folds, of a score that computes them together."""

    def __init__(self, score: TogetherScore) -> None:
        """Create the folded score from the object that has all its models."""
        super().__init__((score,))
        self._score = score

    @property
    def folds(self) -> int:
        """F, how many models there are."""
        return self._score.models

    def update(self, decision: Decision) -> NDArray[np.float64]:
        """Return the score of the next decision by every model, (F,)."""
        return self._score.update_all(decision)

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the score of every decision by every model, (T, F)."""
        return self._score.score_all(rollout)

    def held_out(self, rollout: Rollout, fold: int) -> NDArray[np.float64]:
        """Return the score of every decision by the model of one fold, (T,)."""
        return self._score.score_all(rollout)[:, fold]

    def state(self) -> ScoreState:
        """Return the state of all models."""
        return self._score.state()


def outside_each(
    rollouts: Sequence[Rollout], folds: NDArray[np.int64] | None
) -> list[NDArray[np.int64]]:
    """Return which rollouts each model is fitted on: those outside its fold, or all; F times."""
    if folds is None:
        return [np.arange(len(rollouts))]
    return [np.flatnonzero(folds != fold) for fold in range(int(folds.max()) + 1)]
