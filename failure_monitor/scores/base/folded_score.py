# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A score as several models of it: one for each fold of the rollouts, which it did not learn from.

A calibration rollout and a running one are compared by the same model, that of the calibration
rollout's fold, so that to this model both are equally new (cross-conformal prediction; Vovk 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, Rollout
from failure_monitor.scores.base.score import Score


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
