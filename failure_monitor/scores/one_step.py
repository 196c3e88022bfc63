# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One-step prediction: whether the action had the effect that it has in successful rollouts.

A small model predicts how the standardised embedding changes from one decision to the next:

    x_t = [e_t, ā_t],    φ(x) = [cos(ωᵀx + b), x, 1],    ê_{t+1} = e_t + Wᵀ φ(x_t)

with ā the standardised mean chunk, φ random Fourier features and W fitted by ridge regression. Of
the residual z = e − ê, each of its V features divided by its size over the fitting rollouts and
clipped,

    score = √(zᵀ S⁻¹ z / V),    S = 0.7 · mean of z zᵀ over the fitting rollouts + 0.3 · I

so that features that err together count once. Undefined at a rollout's first decision. The
residuals of the fitting rollouts are those of leave-one-out prediction, which ridge regression
has in closed form (Allen's PRESS statistic). It sees a push, a slip, a leap of the scene.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.fourier_features import FourierFeatures, row_by_row
from failure_monitor.scores.base.sampled_chunks import require_second_decisions
from failure_monitor.scores.base.score import ScoreState, TransitionScore
from failure_monitor.scores.base.standardisation import CLIP, Standardisation, mean_chunks

RIDGE = 10.0
MAX_LEVERAGE = 0.95
"""Beyond it a leave-one-out residual would rest on next to nothing."""
MIN_RESIDUAL = 1e-3
"""In standard deviations of the embedding: no feature counts as predicted more exactly."""
SHRINKAGE = 0.3
"""Share of the identity in S: the fitting decisions are too few to estimate all correlations."""


class OneStepPrediction(TransitionScore):
    """The residual of the embedding that was predicted at the decision before."""

    name = "one_step"
    meaning = "the last action did not have its usual effect"

    def __init__(
        self,
        *,
        embedding: Standardisation,
        chunk: Standardisation,
        features: FourierFeatures,
        weights: NDArray[np.float32],
        residual: NDArray[np.float64],
        whitening: NDArray[np.float32],
    ) -> None:
        """Create the score from its model of V embedding and U mean-chunk features that vary.

        Args:
            embedding: standardisation of embeddings.
            chunk: standardisation of mean chunks.
            features: φ, of V + U inputs.
            weights: W, (M + V + U + 1, V).
            residual: (V,), the size of each feature's residual over the fitting rollouts.
            whitening: (V, V), a matrix A with A Aᵀ = S⁻¹ / V.
        """
        self._embedding = embedding
        self._chunk = chunk
        self._features = features
        self._weights = weights
        self._residual = residual
        self._whitening = whitening

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> OneStepPrediction:
        """Fit the model to the rollouts.

        Raises:
            ScoreUndefinedError: embeddings or mean chunks never change, or no rollout has a
                second decision.
        """
        require_second_decisions(rollouts, cls.name)
        embedding = Standardisation.of_embeddings(rollouts, cls.name)
        chunk = Standardisation.of_mean_chunks(rollouts, cls.name)
        features = FourierFeatures.draw(len(embedding.varying) + len(chunk.varying), seed)
        seen = [_inputs(rollout, embedding, chunk) for rollout in rollouts]
        before = np.concatenate([inputs[:-1] for inputs in seen])
        steps = np.concatenate([np.diff(inputs, axis=0) for inputs in seen])
        weights, residuals = _ridge(
            features(before).astype(np.float64), steps[:, : len(embedding.varying)]
        )
        residual = np.maximum(np.sqrt(np.mean(residuals**2, axis=0)), MIN_RESIDUAL)
        return cls(
            embedding=embedding,
            chunk=chunk,
            features=features,
            weights=weights.astype(np.float32),
            residual=residual,
            whitening=_whitening(residuals / residual).astype(np.float32),
        )

    def inputs(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return x, (T, V + U)."""
        return _inputs(rollout, self._embedding, self._chunk)

    def compare(
        self,
        before: NDArray[np.floating],
        now: NDArray[np.floating],
        gaps: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the size of the residual of every step, (N,)."""
        changes = (now - before)[:, : len(self._residual)]
        predicted = row_by_row(self._features(before), self._weights)
        scaled = ((changes - predicted) / self._residual).clip(-CLIP, CLIP)
        whitened = row_by_row(scaled.astype(np.float32), self._whitening)
        return np.asarray(np.linalg.norm(whitened, axis=1), dtype=np.float64)

    def state(self) -> ScoreState:
        """Return the model."""
        return ScoreState(
            arrays={
                "weights": self._weights,
                "residual": self._residual,
                "whitening": self._whitening,
                **self._features.arrays(),
                **self._embedding.arrays("embedding"),
                **self._chunk.arrays("chunk"),
            }
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> OneStepPrediction:
        """Restore the score with a stored model."""
        return cls(
            embedding=Standardisation.from_state(state, "embedding"),
            chunk=Standardisation.from_state(state, "chunk"),
            features=FourierFeatures.from_state(state),
            weights=state.arrays["weights"].astype(np.float32),
            residual=state.arrays["residual"].astype(np.float64),
            whitening=state.arrays["whitening"].astype(np.float32),
        )


def _inputs(
    rollout: Rollout, embedding: Standardisation, chunk: Standardisation
) -> NDArray[np.float64]:
    """Return x at every decision, the standardised embedding before the mean chunk; (T, V + U)."""
    parts = embedding(rollout.embeddings), chunk(mean_chunks(rollout))
    return np.concatenate(parts, axis=1)


def _ridge(
    features: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the regression's weights, (F, V), and its leave-one-out residuals, (N, V)."""
    # Imported here: fitting alone needs it, and the monitor starts sooner without it.
    from scipy.linalg import cho_factor, cho_solve

    gram = cho_factor(features.T @ features + RIDGE * np.eye(features.shape[1]))
    weights = cho_solve(gram, features.T @ targets)
    leverage = np.einsum("nf,fn->n", features, cho_solve(gram, features.T))
    residuals = targets - features @ weights
    residuals /= (1 - np.minimum(leverage, MAX_LEVERAGE))[:, np.newaxis]
    return weights, residuals


def _whitening(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a with A Aᵀ = S⁻¹ / V, (V, V), of scaled residuals (N, V)."""
    count, size = scaled.shape
    together = (1 - SHRINKAGE) * scaled.T @ scaled / count + SHRINKAGE * np.eye(size)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(together)).T / np.sqrt(size))
