# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The probe: how much a decision is like those of failures that were seen before.

    score(t) = log(1 + exp(wᵀ x(t) + b))

with x(t) the other scores of the decision, s_k, as arsinh(s_k / mean |s_k|), and the principal
components of its observation embedding, all of them standardised. wᵀ x + b are the log-odds of a
logistic regression on failed and successful rollouts, brought to a scale on which those of
successful rollouts have the median 0 and the 95th percentile 1; fitted in `fitting/probe.py`.
Learned probes on what a policy computes: Gu et al., "SAFE: Multitask Failure Detection for
Vision-Language-Action Models", NeurIPS 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.scores.base.score import Score, ScoreState, ScoreUndefinedError
from failure_monitor.scores.base.standardisation import Standardisation

MAX_DEVIATIONS = 3.0
"""Principal components count up to so many deviations: an embedding beyond is unlike all that was
learned from, which the scores show, and no more like a success or a failure than one at it."""

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class ProbeFeatures:
    """The map from K scores and the observation embedding of a decision to its F features x.

    Attributes:
        typical: (K,), the mean size of every score.
        scores: standardisation of arsinh(s_k / typical_k).
        embedding: standardisation of embeddings, V features of which vary.
        axes: (V, P), the principal axes, each divided by the deviation along it.
    """

    typical: NDArray[np.float64]
    scores: Standardisation
    embedding: Standardisation
    axes: NDArray[np.float64]

    def __call__(
        self, values: NDArray[np.float64], embeddings: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Map scores (T, K) and embeddings (T, E) to (T, F). An undefined score becomes 0."""
        scores = np.nan_to_num(self.scores(np.arcsinh(values / self.typical)))
        components = self.embedding(embeddings) @ self.axes
        return np.concatenate([scores, components.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)], axis=1)


class Probe(Score):
    """The log-odds of failure, made positive."""

    name = "probe"
    meaning = "it is like failures seen before"
    follows_rollout = True

    def __init__(
        self,
        *,
        scores: Sequence[Score],
        features: ProbeFeatures,
        weights: NDArray[np.float64],
        intercept: float,
    ) -> None:
        """Create the score from its regression.

        Args:
            scores: the K scores that it weighs, fitted; they are the probe's own from now on.
            features: x.
            weights: w, (F,).
            intercept: b.
        """
        self._scores = tuple(scores)
        self._features = features
        self._weights = weights
        self._intercept = intercept
        self.needs_positions = any(score.needs_positions for score in self._scores)
        self.joint_quantities = tuple(
            dict.fromkeys(name for score in self._scores for name in score.joint_quantities)
        )
        self.command_names = tuple(
            dict.fromkeys(name for score in self._scores for name in score.command_names)
        )
        self.needs_tokens = any(score.needs_tokens for score in self._scores)

    @classmethod
    def fit(cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0) -> Probe:
        """Successful rollouts alone teach it nothing.

        Raises:
            ScoreUndefinedError: always.
        """
        raise ScoreUndefinedError(
            f"{cls.name}: it learns from failed rollouts, but got none: give some as "
            "failures, or leave it out of the rule"
        )

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of the scores that it weighs."""
        return tuple(score.name for score in self._scores)

    def start_rollout(self) -> None:
        """Have the scores forget the past."""
        for score in self._scores:
            score.start_rollout()

    def resume(self, number: int, *, stopped: bool = False) -> None:
        """Continue after decisions that were not seen, in every score."""
        for score in self._scores:
            score.resume(number, stopped=stopped)

    def update(self, decision: Decision) -> float:
        """Return the score of the next decision."""
        defined = np.array([score.is_defined_for(decision) for score in self._scores])
        values = np.array([score.update(decision) for score in self._scores])
        return float(self._score(values[np.newaxis], defined, decision.embedding[np.newaxis])[0])

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the score of every decision, (T,)."""
        values = scores_side_by_side(self._scores, rollout)
        defined = np.stack([score.defined(rollout) for score in self._scores], axis=-1)
        return self._score(values, defined, rollout.embeddings)

    def _score(
        self,
        values: NDArray[np.float64],
        defined: NDArray[np.bool_],
        embeddings: NDArray[np.floating],
    ) -> NDArray[np.float64]:
        """Return the score, (T,); NaN where a score that is defined is no finite number."""
        features = self._features(values, embeddings)
        log_odds = features @ self._weights + self._intercept
        broken = np.isinf(values) | (np.isnan(values) & defined)
        return np.where(broken.any(axis=1), np.nan, np.logaddexp(0, log_odds))

    def state(self) -> ScoreState:
        """Return the regression, and the scores that it weighs under their own names."""
        parts = {score.name: score.state() for score in self._scores}
        return ScoreState(
            parameters={
                "intercept": self._intercept,
                **_under_names({name: part.parameters for name, part in parts.items()}),
            },
            arrays={
                "scores": np.array(list(parts)),
                "typical": self._features.typical,
                "axes": self._features.axes,
                "weights": self._weights,
                **self._features.scores.arrays("score"),
                **self._features.embedding.arrays("embedding"),
                **_under_names({name: part.arrays for name, part in parts.items()}),
            },
            models=_under_names({name: part.models for name, part in parts.items()}),
        )

    @classmethod
    def weighed_states(cls, state: ScoreState) -> dict[str, ScoreState]:
        """Return the states of the scores that it weighs, by their names."""
        return {
            name: ScoreState(
                parameters=_of_name(name, state.parameters),
                arrays=_of_name(name, state.arrays),
                models=_of_name(name, state.models),
            )
            for name in state.arrays["scores"].tolist()
        }

    @classmethod
    def from_state(cls, state: ScoreState) -> Probe:
        """Restore the score with a stored regression."""
        return cls(
            scores=state.scores,
            features=ProbeFeatures(
                typical=state.arrays["typical"].astype(np.float64),
                scores=Standardisation.from_state(state, "score"),
                embedding=Standardisation.from_state(state, "embedding"),
                axes=state.arrays["axes"].astype(np.float64),
            ),
            weights=state.arrays["weights"].astype(np.float64),
            intercept=state.parameters["intercept"],
        )


def scores_side_by_side(scores: Sequence[Score], rollout: Rollout) -> NDArray[np.float64]:
    """Return every score at every decision, (T, K); NaN where undefined."""
    return np.stack([score.score_rollout(rollout) for score in scores], axis=-1)


def _under_names(parts: dict[str, dict[str, Value]]) -> dict[str, Value]:
    return {f"{name}.{key}": value for name, held in parts.items() for key, value in held.items()}


def _of_name(name: str, parts: dict[str, Value]) -> dict[str, Value]:
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): value for key, value in parts.items() if key.startswith(prefix)
    }
