# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Command effect: whether the motion commanded so far had its usual result.

What was executed of all chunks before decision t adds up to a place u_t, as the commands have it
(`commanded_places`). From standardised u_t and u_{t−3} (of a decision before the first, u_0) ridge
regression on random Fourier features φ predicts the standardised embedding,
ê_t = Wᵀ φ(u_t, u_{t−3}). With residuals ρ of the fitting rollouts, each predicted from the others,

    σ_v = √mean ρ_v²,    R²_v = 1 − mean ρ_v² / var e_v, at least 0,    w_v ∝ (R²_v)³, Σ w_v = 1
    score = √(Σ_v w_v z_v²),    z_v = (e_v − ê_v) / σ_v, clipped

so that those features count which commands determine, of many the 64 with the largest R²:
proprioception, and what shows in the image where the arm is. It sees an arm that is stuck, pushed
or elsewhere than commanded, and a camera that moved; not an object out of place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.scores.base.commanded_places import CommandedPlaces
from failure_monitor.scores.base.executed_actions import ExecutedActions
from failure_monitor.scores.base.fourier_features import FourierFeatures
from failure_monitor.scores.base.ridge import ridge_leaving_out
from failure_monitor.scores.base.sampled_chunks import require_second_decisions
from failure_monitor.scores.base.score import ScoreState, ScoreUndefinedError
from failure_monitor.scores.base.standardisation import Standardisation, clip
from failure_monitor.scores.base.together_score import TogetherScore, outside_each

BACK = 3
"""Decisions: the second of the two places that predict is that so long ago."""
RIDGE = 1.0
MOST_FEATURES = 64
"""Features that are predicted, those that commands determine best: there is one model of them for
each fold."""
MIN_RESIDUAL = 1e-3
"""In standard deviations of the embedding: added to the size of every feature's residuals."""


class CommandEffect(TogetherScore):
    """The residual of the embedding that the commands so far predict."""

    name = "command_effect"
    meaning = "what was commanded so far did not have its usual result"
    follows_rollout = True

    def __init__(
        self,
        *,
        executed: ExecutedActions,
        are_positions: bool,
        command: Standardisation,
        embedding: Standardisation,
        features: FourierFeatures,
        regression: NDArray[np.float32],
        residual: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> None:
        """Create the score from F models of U command and V embedding features.

        Args:
            executed: k, how many actions of a chunk are executed before the next decision.
            are_positions: whether actions are positions, not velocities or deltas.
            command: standardisation of commanded places.
            embedding: standardisation of the embedding features that are predicted.
            features: φ, of 2U inputs.
            regression: W of every model in a row, (M + 2U + 1, F·V).
            residual: σ, (F, V).
            weights: w, (F, V).
        """
        self._executed = executed
        self._are_positions = are_positions
        self._command = command
        self._embedding = embedding
        self._features = features
        self._regression = regression
        self._residual = residual
        self._weights = weights
        self._commanded = CommandedPlaces(executed, are_positions=are_positions)
        self.start_rollout()

    @property
    def models(self) -> int:
        """F, how many models there are."""
        return len(self._residual)

    @classmethod
    def fit_together(
        cls,
        rollouts: Sequence[Rollout],
        folds: NDArray[np.int64] | None,
        policy: PolicyFormat,
        seed: int = 0,
    ) -> CommandEffect:
        """Fit the models to the rollouts.

        Raises:
            ScoreUndefinedError: it is unknown how many actions are executed; no rollout has a
                second decision; commands or embeddings never change, or have nothing to do with
                each other.
        """
        executed = ExecutedActions.of(policy, rollouts, cls.name)
        require_second_decisions(rollouts, cls.name)
        are_positions = policy.action_kind == "position"
        places = [_commanded_places(rollout, executed, are_positions) for rollout in rollouts]
        command = Standardisation.fit(np.concatenate(places), f"{cls.name}: the commanded places")
        embedding = Standardisation.of_embeddings(rollouts, cls.name)
        features = FourierFeatures.draw(2 * len(command.varying), seed)
        inputs = [features(_now_and_before(command(place))).astype(np.float64) for place in places]
        targets = [embedding(rollout.embeddings) for rollout in rollouts]
        if len(embedding.varying) > MOST_FEATURES:
            _, residuals = ridge_leaving_out(inputs, targets, RIDGE)
            ordered = np.argsort(-_determination(residuals, targets), kind="stable")
            kept = np.sort(ordered[:MOST_FEATURES])
            embedding, targets = embedding.only(kept), [target[:, kept] for target in targets]
        regression, residual, weights = [], [], []
        for others in outside_each(rollouts, folds):
            wanted = [targets[place] for place in others]
            of_model, residuals = ridge_leaving_out(
                [inputs[place] for place in others], wanted, RIDGE
            )
            regression.append(of_model)
            residual.append(np.sqrt(np.mean(residuals**2, axis=0)) + MIN_RESIDUAL)
            weights.append(_weights(_determination(residuals, wanted)))
        if not np.any(weights):
            raise ScoreUndefinedError(
                f"{cls.name}: the commands predict none of the embedding's features (R² is 0 on "
                "rollouts that were held out): check that the executed chunk comes first among "
                "the samples, calibrate on more rollouts, or leave it out of the rule"
            )
        return cls(
            executed=executed,
            are_positions=are_positions,
            command=command,
            embedding=embedding,
            features=features,
            # In this order of memory they are restored, and products are rounded alike.
            regression=np.concatenate(regression, axis=1).astype(np.float32, order="C"),
            residual=np.stack(residual),
            weights=np.stack(weights),
        )

    def start_rollout(self) -> None:
        """Forget what was commanded."""
        self._commanded.start_rollout()
        self._places: deque[NDArray[np.float64]] = deque(maxlen=BACK + 1)
        self._number = 0

    def resume(self, number: int, *, stopped: bool = False) -> None:
        """Continue from what is known of the commands in between.

        After a stop nothing is, so that sums of velocities or deltas, and the score with them,
        remain undefined until the next rollout.
        """
        self._commanded.skip(number - self._number)
        if stopped:
            self._commanded.stop()
            self._places.clear()
        self._number = number

    def is_defined_for(self, decision: Decision) -> bool:
        """Return whether it is known what was commanded before the next decision."""
        return self._commanded.is_known(decision.stamp)

    def update_all(self, decision: Decision) -> NDArray[np.float64]:
        """Return the size of the next residual, (F,); NaN if the commands are not known."""
        self._number += 1
        places = self._commanded.add(decision.stamp, decision.chunks[0].astype(np.float64))
        if not places:
            return np.full(self.models, np.nan)
        self._places.extend(self._command(place) for place in places)
        inputs = np.concatenate([self._places[-1], self._places[0]])
        return self._sizes(inputs, decision.embedding)

    def score_all(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the size of the residual at every decision, (T, F)."""
        places = self._command(_commanded_places(rollout, self._executed, self._are_positions))
        return np.stack([*map(self._sizes, _now_and_before(places), rollout.embeddings)])

    def _sizes(
        self, inputs: NDArray[np.float64], embedding: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        predicted = (self._features(inputs) @ self._regression).reshape(self._residual.shape)
        scaled = self._embedding(embedding) - predicted
        scaled /= self._residual
        squared = np.square(clip(scaled), out=scaled)
        squared *= self._weights
        return np.asarray(np.sqrt(squared.sum(axis=1)))

    def state(self) -> ScoreState:
        """Return the model."""
        return ScoreState(
            parameters={
                **self._executed.parameters(),
                "are_positions": float(self._are_positions),
            },
            arrays={
                "regression": self._regression,
                "residual": self._residual,
                "weights": self._weights,
                **self._features.arrays(),
                **self._command.arrays("command"),
                **self._embedding.arrays("embedding"),
            },
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> CommandEffect:
        """Restore the score with a stored model."""
        return cls(
            features=FourierFeatures.from_state(state),
            command=Standardisation.from_state(state, "command"),
            embedding=Standardisation.from_state(state, "embedding"),
            regression=state.arrays["regression"].astype(np.float32, order="C"),
            residual=np.atleast_2d(state.arrays["residual"]).astype(np.float64),
            weights=np.atleast_2d(state.arrays["weights"]).astype(np.float64),
            executed=ExecutedActions.from_parameters(state.parameters),
            are_positions=bool(state.parameters["are_positions"]),
        )


def _commanded_places(
    rollout: Rollout, executed: ExecutedActions, are_positions: bool
) -> NDArray[np.float64]:
    """Return u at every decision, (T, D)."""
    commanded = CommandedPlaces(executed, are_positions=are_positions)
    chunks = rollout.chunks[:, 0].astype(np.float64)
    stamps = rollout.nanoseconds.tolist()
    return np.concatenate([commanded.add(*each) for each in zip(stamps, chunks, strict=True)])


def _now_and_before(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what is predicted from, (T, U) to (T, 2U)."""
    before = np.maximum(np.arange(len(places)) - BACK, 0)
    return np.concatenate([places, places[before]], axis=1)


def _determination(
    residuals: NDArray[np.float64], targets: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return R² of every feature, (V,)."""
    return np.asarray(1 - np.mean(residuals**2, axis=0) / np.var(np.concatenate(targets), axis=0))


def _weights(determination: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return w of the coefficients of determination R², (V,).

    Of few rollouts a model of one fold may predict nothing: then it weighs nothing, and its score
    is 0 for the calibration rollouts of that fold as for a running one.
    """
    determined = np.maximum(determination, 0.0) ** 3
    return np.asarray(determined / (determined.sum() or 1.0))
