# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Fitting of the probe: a logistic regression on successful and failed rollouts.

    minimise  Σ_i ω_i log(1 + exp(∓(wᵀ x_i + b))) + RIDGE/2 ‖w‖²    over decisions i

The weights ω of a rollout's decisions are equal; successes and failures weigh the same in all, and
together as much as there are rollouts, so that a failure counts once, however long it dragged on.
No score has a negative weight: the higher it is, the worse, whatever the failures at hand suggest.
Of a failure only decisions of such a number count as successes have too, and of these the later
half: a rollout begins to fail at some time that no label gives, and what comes after the longest
success shows nothing but that time has passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from failure_monitor.scores.base.score import Score, ScoreUndefinedError
from failure_monitor.scores.base.standardisation import Standardisation
from failure_monitor.scores.probe import Probe, ProbeFeatures
from failure_monitor.thresholds.conformal import Scale

COMPONENTS = 8
"""Principal components of the embedding, at most."""
RIDGE = 10.0
MIN_VARIANCE = 1e-6
"""Components along which standardised embeddings vary less are left out."""


@dataclass(frozen=True, eq=False)
class ProbeExample:
    """What the probe learns from a rollout of T decisions.

    Attributes:
        values: (T, K), K scores that were fitted on other rollouts; NaN where undefined.
        embeddings: (T, E).
    """

    values: NDArray[np.float64]
    embeddings: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.values)


def fit_probe(
    scores: Sequence[Score],
    successes: Sequence[ProbeExample],
    failures: Sequence[ProbeExample],
) -> Probe:
    """Fit the probe.

    Args:
        scores: the K scores that it will weigh.
        successes: the successful rollouts that `scores` are fitted on, but scored without it.
        failures: the failed rollouts.

    Raises:
        ScoreUndefinedError: scores or embeddings never change, a score is nowhere defined, or none
            separates failures from successes.
    """
    features = _fit_features([score.name for score in scores], successes)
    longest = max(map(len, successes))
    examples = [
        *(features(rollout.values, rollout.embeddings) for rollout in successes),
        *(
            _later_half(features(rollout.values, rollout.embeddings), longest)
            for rollout in failures
        ),
    ]
    failed = np.repeat([False, True], [len(successes), len(failures)])
    raising = features.scores.varying.size
    weights = regress(examples, failed, raising)
    if not weights[:raising].any():
        raise ScoreUndefinedError(
            f"probe: none of the scores {', '.join(score.name for score in scores)} is higher in "
            f"the {len(failures)} failures than in successful rollouts: check that these rollouts "
            "failed, let it weigh other scores, or calibrate without failures"
        )
    weights, intercept = _on_scale(weights, examples[: len(successes)])
    return Probe(scores=scores, features=features, weights=weights, intercept=intercept)


def regress(
    examples: Sequence[NDArray[np.float64]], failed: NDArray[np.bool_], raising: int
) -> NDArray[np.float64]:
    """Return the regression's weights, (F,).

    Args:
        examples: the features of every rollout, n times (T, F).
        failed: (n,), whether it failed; some did, some did not.
        raising: so many features, the first, cannot have negative weights.
    """
    lengths = np.array([len(example) for example in examples])
    share = np.where(failed, 1 / failed.sum(), 1 / (~failed).sum())
    weight = np.repeat(len(examples) / 2 * share / lengths, lengths)
    sign = np.repeat(np.where(failed, 1.0, -1.0), lengths)
    inputs = np.concatenate(examples)
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    size = inputs.shape[1]
    ridge = np.append(np.full(size - 1, RIDGE), 0.0)

    def loss_and_gradient(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (inputs @ w)
        loss = float(weight @ np.logaddexp(0, -margin) + ridge @ w**2 / 2)
        return loss, ridge * w - inputs.T @ (weight * sign * expit(-margin))

    bounds = [(0, None)] * raising + [(None, None)] * (size - raising)
    found = minimize(
        loss_and_gradient,
        np.zeros(size),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"gtol": 1e-9, "ftol": 0.0, "maxiter": 1000},
    )
    return np.asarray(found.x[:-1])


def _on_scale(
    weights: NDArray[np.float64], successes: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], float]:
    """Return the weights, scaled, and an intercept, for features of n successes, (T, F) each.

    The median of wᵀx + b is then 0 over these, and the 95th percentile 1. Every fold has a
    regression of its own, of which some come out steeper than others; a threshold from all of them
    would be too low for the steepest.
    """
    usual = np.concatenate(successes) @ weights
    scale = Scale.fit([usual[:, np.newaxis]])
    centre, spread = float(scale.centre[0]), float(scale.spread[0])
    return weights / spread, -centre / spread


def _later_half(features: NDArray[np.float64], longest: int) -> NDArray[np.float64]:
    comparable = features[:longest]
    return comparable[len(comparable) // 2 :]


def _fit_features(names: Sequence[str], successes: Sequence[ProbeExample]) -> ProbeFeatures:
    values = np.concatenate([rollout.values for rollout in successes])
    nowhere = [
        name for name, column in zip(names, values.T, strict=True) if np.isnan(column).all()
    ]
    if nowhere:
        raise ScoreUndefinedError(
            f"probe: the score {', '.join(nowhere)} is undefined at every decision of the "
            "successful rollouts, which are too short for it: record longer ones, or leave it out"
        )
    typical = np.nanmean(np.abs(values), axis=0)
    typical[typical == 0] = 1
    compressed = np.arcsinh(values / typical)
    embeddings = np.concatenate([rollout.embeddings for rollout in successes])
    # Of a policy that gives no embedding the scores alone tell.
    embedding = Standardisation(np.empty(0, np.int64), np.empty(0), np.empty(0))
    if embeddings.shape[1]:
        embedding = Standardisation.fit(embeddings, "probe: the embeddings")
    return ProbeFeatures(
        typical=typical,
        scores=Standardisation.fit(
            np.where(np.isnan(compressed), np.nanmean(compressed, axis=0), compressed),
            f"probe: the scores {', '.join(names)}",
        ),
        embedding=embedding,
        axes=_principal_axes(embedding(embeddings)),
    )


def _principal_axes(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the principal axes of embeddings (N, V), each over the deviation along it; (V, P)."""
    if not embeddings.shape[1]:
        return np.empty((0, 0))
    variances, axes = np.linalg.eigh(embeddings.T @ embeddings / len(embeddings))
    variances, axes = variances[-COMPONENTS:], axes[:, -COMPONENTS:]
    kept = variances > MIN_VARIANCE
    return np.asarray(axes[:, kept] / np.sqrt(variances[kept]))
