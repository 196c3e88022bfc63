# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One-step prediction: whether the action had the effect that it has in successful rollouts.

A small model predicts how the standardised embedding changes from one decision to the next, along
its 64 principal components where more features vary:

    x_t = [e_t, ā_t],    φ(x) = [cos(ωᵀx + b), x, 1],    ê_{t+1} = e_t + Wᵀ φ(x_t)

with ā the standardised mean chunk, φ random Fourier features and W fitted by ridge regression. Of
the residual z = e − ê, each of its P features divided by its size over the fitting rollouts and
clipped,

    score = √(zᵀ S⁻¹ z / P),    S = 0.7 · mean of z zᵀ over the fitting rollouts + 0.3 · I

so that features that err together count once. Undefined at a rollout's first decision. The
residuals of the fitting rollouts are those of leave-one-out prediction, which ridge regression
has in closed form (Allen's PRESS statistic). It sees a push, a slip, a leap of the scene.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.scores.base.fourier_features import FourierFeatures
from failure_monitor.scores.base.principal_components import PrincipalFeatures
from failure_monitor.scores.base.sampled_chunks import require_second_decisions
from failure_monitor.scores.base.score import ScoreState
from failure_monitor.scores.base.standardisation import clip, mean_chunks
from failure_monitor.scores.base.together_score import TogetherScore, outside_each

RIDGE = 10.0
MAX_LEVERAGE = 0.95
"""Beyond it a leave-one-out residual would rest on next to nothing."""
COMPONENTS = 64
"""Most directions in which the embedding is followed: there is one model of them for each fold."""
CHUNK_COMPONENTS = 16
"""Most directions in which the mean chunk is."""
MIN_RESIDUAL = 1e-3
"""In standard deviations of the embedding: no feature counts as predicted more exactly."""
SHRINKAGE = 0.3
"""Share of the identity in S: the fitting decisions are too few to estimate all correlations."""


class OneStepPrediction(TogetherScore):
    """The residual of the embedding that was predicted at the decision before."""

    name = "one_step"
    meaning = "the last action did not have its usual effect"
    first_defined = 1
    _before: NDArray[np.float32] | None = None

    def __init__(
        self,
        *,
        embedding: PrincipalFeatures,
        chunk: PrincipalFeatures,
        features: FourierFeatures,
        weights: NDArray[np.float32],
        residual: NDArray[np.float64],
        whitening: NDArray[np.float32],
    ) -> None:
        """Create the score from F models of P embedding and U mean-chunk features.

        Args:
            embedding: what is taken of embeddings.
            chunk: what is taken of mean chunks.
            features: φ, of P + U inputs.
            weights: W of every model in a row, (M + P + U + 1, F·P).
            residual: (F, P), the size of each feature's residual over the fitting rollouts.
            whitening: (F, P, P), a matrix A with A Aᵀ = S⁻¹ / P for each model.
        """
        self._embedding = embedding
        self._chunk = chunk
        self._features = features
        self._weights = weights
        self._residual = residual
        self._whitening = whitening

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
    ) -> OneStepPrediction:
        """Fit the models to the rollouts.

        Raises:
            ScoreUndefinedError: embeddings or mean chunks never change, or no rollout has a
                second decision.
        """
        require_second_decisions(rollouts, cls.name)
        embedding = PrincipalFeatures.fit(
            np.concatenate([rollout.embeddings for rollout in rollouts]),
            f"{cls.name}: the embeddings",
            COMPONENTS,
        )
        chunk = PrincipalFeatures.fit(
            np.concatenate([mean_chunks(rollout) for rollout in rollouts]),
            f"{cls.name}: the mean action chunks",
            CHUNK_COMPONENTS,
        )
        seen = [
            np.stack([_inputs(decision, embedding, chunk) for decision in rollout.decisions()])
            for rollout in rollouts
        ]
        features = FourierFeatures.draw(embedding.size + chunk.size, seed)
        before = [features(inputs[:-1]).astype(np.float64) for inputs in seen]
        steps = [np.diff(inputs[:, : embedding.size], axis=0) for inputs in seen]
        weights, residual, whitening = [], [], []
        for others in outside_each(rollouts, folds):
            of_model, residuals = _ridge(
                np.concatenate([before[place] for place in others]),
                np.concatenate([steps[place] for place in others]),
            )
            sizes = np.maximum(np.sqrt(np.mean(residuals**2, axis=0)), MIN_RESIDUAL)
            weights.append(of_model)
            residual.append(sizes)
            whitening.append(_whitening(residuals / sizes))
        return cls(
            embedding=embedding,
            chunk=chunk,
            features=features,
            # In this order of memory they are restored, and products are rounded alike.
            weights=np.concatenate(weights, axis=1).astype(np.float32, order="C"),
            residual=np.stack(residual),
            whitening=np.stack(whitening).astype(np.float32, order="C"),
        )

    def start_rollout(self) -> None:
        """Forget the decision before."""
        self._before = None

    def resume(self, number: int, *, stopped: bool = False) -> None:
        """Continue after decisions that were not seen, so that the next one has no step."""
        self._before = None

    def is_defined_for(self, decision: Decision) -> bool:
        """Return whether the decision before was seen."""
        return self._before is not None

    def update_all(self, decision: Decision) -> NDArray[np.float64]:
        """Return the size of the residual of the step from the last decision, (F,)."""
        now = _inputs(decision, self._embedding, self._chunk)
        before, self._before = self._before, now
        return self._sizes(before, now)

    def score_all(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the size of the residual of the step to every decision, (T, F)."""
        seen = [
            _inputs(decision, self._embedding, self._chunk) for decision in rollout.decisions()
        ]
        return np.stack([*map(self._sizes, [None, *seen[:-1]], seen)])

    def _sizes(
        self, before: NDArray[np.float32] | None, now: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the size of the residual of a step, (F,); NaN where there is none."""
        if before is None:
            return np.full(self.models, np.nan)
        size = self._residual.shape[1]
        predicted = (self._features(before) @ self._weights).reshape(-1, size)
        scaled = now[:size] - before[:size] - predicted
        clipped = np.empty_like(scaled)
        np.divide(scaled, self._residual, out=clipped, casting="same_kind")
        whitened = np.matmul(clip(clipped)[:, np.newaxis], self._whitening)[:, 0]
        squared = np.einsum("fv,fv->f", whitened, whitened)
        return np.asarray(np.sqrt(squared), dtype=np.float64)

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
        residual = np.atleast_2d(state.arrays["residual"]).astype(np.float64)
        models, size = residual.shape
        return cls(
            embedding=PrincipalFeatures.from_state(state, "embedding"),
            chunk=PrincipalFeatures.from_state(state, "chunk"),
            features=FourierFeatures.from_state(state),
            weights=state.arrays["weights"].astype(np.float32, order="C"),
            residual=residual,
            whitening=state.arrays["whitening"].astype(np.float32).reshape(models, size, size),
        )


def _inputs(
    decision: Decision, embedding: PrincipalFeatures, chunk: PrincipalFeatures
) -> NDArray[np.float32]:
    """Return x, what is taken of the embedding before what is of the mean chunk; (P + U,)."""
    return np.concatenate([embedding.of_embedding(decision), chunk.of_mean_chunk(decision)])


def _ridge(
    features: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the regression's weights, (F, P), and its leave-one-out residuals, (N, P)."""
    # Imported here: fitting alone needs it, and the monitor starts sooner without it.
    from scipy.linalg import cho_factor, cho_solve

    gram = cho_factor(features.T @ features + RIDGE * np.eye(features.shape[1]))
    weights = cho_solve(gram, features.T @ targets)
    leverage = np.einsum("nf,fn->n", features, cho_solve(gram, features.T))
    residuals = targets - features @ weights
    residuals /= (1 - np.minimum(leverage, MAX_LEVERAGE))[:, np.newaxis]
    return weights, residuals


def _whitening(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a with A Aᵀ = S⁻¹ / P, (P, P), of scaled residuals (N, P)."""
    count, size = scaled.shape
    together = (1 - SHRINKAGE) * scaled.T @ scaled / count + SHRINKAGE * np.eye(size)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(together)).T / np.sqrt(size))
