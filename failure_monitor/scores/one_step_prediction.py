# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One-step prediction: whether the action had the effect that it has in successful rollouts.

A small model predicts how the standardised embedding changes from one decision to the next:

    x_t = [e_t, ā_t],    φ(x) = [cos(ωᵀx + b), x, 1],    ê_{t+1} = e_t + Wᵀ φ(x_t)

with ā the standardised mean chunk, ω and b random Fourier features and W fitted by ridge
regression. The score is the root mean square over features of the residual e − ê, each divided by
its own size over the fitting rollouts and clipped. Undefined at a rollout's first decision.
Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", NeurIPS 2007. The residuals
of the fitting rollouts are those of leave-one-out prediction, which ridge regression has in
closed form (Allen's PRESS statistic).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.score import ScoreState, ScoreUndefinedError, TransitionScore
from failure_monitor.scores.standardisation import CLIP, Standardisation, mean_chunks

FOURIER_FEATURES = 256
RIDGE = 10.0
HIGHEST_LEVERAGE = 0.95
"""Beyond it a leave-one-out residual would rest on next to nothing."""
SMALLEST_RESIDUAL = 1e-3
"""In standard deviations of the embedding: no feature counts as predicted more exactly."""


class OneStepPrediction(TransitionScore):
    """The residual of the embedding that was predicted at the decision before."""

    name = "one_step"

    def __init__(
        self,
        *,
        embedding: Standardisation,
        chunk: Standardisation,
        frequencies: NDArray[np.float64],
        phases: NDArray[np.float64],
        weights: NDArray[np.float64],
        residual: NDArray[np.float64],
    ) -> None:
        """The model, for V embedding and U mean-chunk features that vary.

        Args:
            embedding: standardisation of embeddings.
            chunk: standardisation of mean chunks.
            frequencies: ω, (V + U, M).
            phases: b, (M,).
            weights: W, (M + V + U + 1, V).
            residual: (V,), the size of each feature's residual over the fitting rollouts.
        """
        self._embedding = embedding
        self._chunk = chunk
        self._frequencies = frequencies
        self._phases = phases
        self._weights = weights
        self._residual = residual

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> OneStepPrediction:
        """Fit the model to the rollouts.

        Raises:
            ScoreUndefinedError: embeddings or mean chunks never change, or no rollout has a
                second decision.
        """
        if max(map(len, rollouts)) < 2:
            raise ScoreUndefinedError(
                f"{cls.name}: every rollout has a single decision, so there is no next one to "
                "predict: record longer rollouts, or leave it out of the rule"
            )
        embedding = Standardisation.of_embeddings(rollouts, cls.name)
        chunk = Standardisation.of_mean_chunks(rollouts, cls.name)
        size = len(embedding.varying) + len(chunk.varying)
        random = np.random.default_rng(seed)
        frequencies = random.normal(size=(size, FOURIER_FEATURES)) / np.sqrt(size)
        phases = random.uniform(0, 2 * np.pi, FOURIER_FEATURES)
        transitions = [_transitions(rollout, embedding, chunk) for rollout in rollouts]
        inputs, changes = (np.concatenate(part) for part in zip(*transitions, strict=True))
        weights, residual = _ridge(_features(inputs, frequencies, phases), changes)
        return cls(
            embedding=embedding,
            chunk=chunk,
            frequencies=frequencies,
            phases=phases,
            weights=weights,
            residual=residual,
        )

    def over_transitions(self, rollout: Rollout) -> NDArray[np.float64]:
        """The size of the residual at every decision but the first, (T − 1,)."""
        inputs, changes = _transitions(rollout, self._embedding, self._chunk)
        predicted = _features(inputs, self._frequencies, self._phases) @ self._weights
        scaled = ((changes - predicted) / self._residual).clip(-CLIP, CLIP)
        return np.asarray(np.sqrt(np.mean(scaled**2, axis=1)))

    def state(self) -> ScoreState:
        """The model."""
        return ScoreState(
            arrays={
                "frequencies": self._frequencies,
                "phases": self._phases,
                "weights": self._weights,
                "residual": self._residual,
                **self._embedding.arrays("embedding"),
                **self._chunk.arrays("chunk"),
            }
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> OneStepPrediction:
        """The score with a stored model."""
        return cls(
            embedding=Standardisation.from_state(state, "embedding"),
            chunk=Standardisation.from_state(state, "chunk"),
            frequencies=state.arrays["frequencies"].astype(np.float64),
            phases=state.arrays["phases"].astype(np.float64),
            weights=state.arrays["weights"].astype(np.float64),
            residual=state.arrays["residual"].astype(np.float64),
        )


def _transitions(
    rollout: Rollout, embedding: Standardisation, chunk: Standardisation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is predicted from, (T − 1, V + U), and the change of the embedding, (T − 1, V)."""
    embeddings = embedding(rollout.embeddings)
    inputs = np.concatenate([embeddings, chunk(mean_chunks(rollout))], axis=1)
    return inputs[:-1], np.diff(embeddings, axis=0)


def _features(
    inputs: NDArray[np.float64], frequencies: NDArray[np.float64], phases: NDArray[np.float64]
) -> NDArray[np.float64]:
    """φ, (N, V + U) to (N, M + V + U + 1)."""
    waves = np.cos(inputs @ frequencies + phases)
    return np.concatenate([waves, inputs, np.ones((len(inputs), 1))], axis=1)


def _ridge(
    features: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The regression's weights, and the root mean square of its leave-one-out residuals."""
    gram = cho_factor(features.T @ features + RIDGE * np.eye(features.shape[1]))
    weights = cho_solve(gram, features.T @ targets)
    leverage = np.einsum("nf,fn->n", features, cho_solve(gram, features.T))
    residuals = targets - features @ weights
    residuals /= (1 - np.minimum(leverage, HIGHEST_LEVERAGE))[:, np.newaxis]
    return weights, np.maximum(np.sqrt(np.mean(residuals**2, axis=0)), SMALLEST_RESIDUAL)
