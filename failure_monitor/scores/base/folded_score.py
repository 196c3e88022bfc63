# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A score as several models of it: one for each fold of the rollouts, which it did not learn from.

A calibration rollout and a running one are compared by the same model, that of the calibration
rollout's fold, so that to this model both are equally new (cross-conformal prediction; Vovk 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, Rollout
from failure_monitor.scores.base.score import Score, ScoreState

FOLDS = "number_of_folds"
"""The array by which the state of several models is known."""

Value = TypeVar("Value")


class FoldedScore:
    """F models of one score; F is 1 where the score was fitted on other rollouts altogether.

    This one asks F fitted scores in turn. What models have in common need not be computed F times:
    a score that knows how overrides `Score.fit_folds`, and returns a subclass.
    """

    def __init__(self, models: Sequence[Score]) -> None:
        """Create the score from its models, in order of the folds."""
        self.models = tuple(models)

    @property
    def kind(self) -> type[Score]:
        """The class of the score: its name, its meaning, what it needs."""
        return type(self.models[0])

    @property
    def name(self) -> str:
        """The score's name."""
        return self.kind.name

    @property
    def meaning(self) -> str:
        """What is wrong where the score is above its threshold, for an operator."""
        return self.kind.meaning

    @property
    def first_defined(self) -> int:
        """The number of the first decision of a rollout that can have the score."""
        return self.models[0].first_defined

    @property
    def follows_rollout(self) -> bool:
        """Whether the score depends on when the rollout began."""
        return self.models[0].follows_rollout

    @property
    def needs_positions(self) -> bool:
        """Whether it needs measured positions of the robot."""
        return self.models[0].needs_positions

    @property
    def needs_joints(self) -> bool:
        """Whether it needs what joints did between decisions."""
        return self.models[0].needs_joints

    @property
    def joint_quantities(self) -> tuple[str, ...]:
        """The quantities of joints that it reads, as `Score.joint_quantities`."""
        return self.models[0].joint_quantities

    @property
    def command_names(self) -> tuple[str, ...]:
        """The values of commands as sent that it reads, as `Score.command_names`."""
        return self.models[0].command_names

    @property
    def needs_tokens(self) -> bool:
        """Whether it needs tokens of the policy's network."""
        return self.models[0].needs_tokens

    @property
    def folds(self) -> int:
        """F, how many models there are."""
        return len(self.models)

    def start_rollout(self) -> None:
        """Forget the past: the next decision is a rollout's first."""
        for model in self.models:
            model.start_rollout()

    def resume(self, number: int, *, stopped: bool = False) -> None:
        """Continue after decisions that were not seen, as `Score.resume`."""
        for model in self.models:
            model.resume(number, stopped=stopped)

    def is_defined_for(self, decision: Decision) -> bool:
        """Return whether the next decision has the score, which is the same for all models."""
        return self.models[0].is_defined_for(decision)

    def defined(self, rollout: Rollout) -> NDArray[np.bool_]:
        """Return which decisions of a rollout have the score, (T,)."""
        return self.models[0].defined(rollout)

    def update(self, decision: Decision) -> NDArray[np.float64]:
        """Return the score of the next decision by every model, (F,)."""
        return np.array([model.update(decision) for model in self.models])

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the score of every decision by every model, (T, F)."""
        return np.stack([model.score_rollout(rollout) for model in self.models], axis=-1)

    def held_out(self, rollout: Rollout, fold: int) -> NDArray[np.float64]:
        """Return the score of every decision by the model of one fold, (T,)."""
        return self.models[fold].score_rollout(rollout)

    def state(self) -> ScoreState:
        """Return the state from which `Score.folded_from_state` restores the models.

        Of a single model it is that model's own.
        """
        states = [model.state() for model in self.models]
        if len(states) == 1:
            return states[0]
        return ScoreState(
            parameters=_numbered([state.parameters for state in states]),
            arrays={
                FOLDS: np.array(len(states)),
                **_numbered([state.arrays for state in states]),
            },
            models=_numbered([state.models for state in states]),
        )


def outside(fold: int, rollouts: Sequence[Rollout], folds: NDArray[np.int64]) -> list[Rollout]:
    """Return the rollouts that are not of a fold, given the fold of each, (n,)."""
    return [rollout for rollout, own in zip(rollouts, folds, strict=True) if own != fold]


def states_of_folds(state: ScoreState) -> list[ScoreState]:
    """Return the states of the models that a state holds; of one model it is the state itself."""
    if FOLDS not in state.arrays:
        return [state]
    return [
        ScoreState(
            parameters=_of_number(fold, state.parameters),
            arrays=_of_number(fold, state.arrays),
            models=_of_number(fold, state.models),
        )
        for fold in range(int(state.arrays[FOLDS]))
    ]


def _numbered(parts: Sequence[dict[str, Value]]) -> dict[str, Value]:
    return {f"{n}.{key}": value for n, part in enumerate(parts) for key, value in part.items()}


def _of_number(number: int, parts: dict[str, Value]) -> dict[str, Value]:
    prefix = f"{number}."
    return {
        key.removeprefix(prefix): value for key, value in parts.items() if key.startswith(prefix)
    }
