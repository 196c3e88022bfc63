# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Token distance: how unfamiliar the last layer's tokens of the policy's network are.

    score = mean over tokens n of ‖Wᵀ (x_n − μ_n)‖ / √V

with μ_n the mean of the token at that place over the fitting rollouts, and W Wᵀ the inverse of the
shrunk covariance of all tokens about the means of their places: a Mahalanobis distance per token
(Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018).
One forward pass of the policy is enough, and no samples are needed.

Features are scaled by their deviations. Of more than `MAX_FEATURES` so many random combinations
take their place, so that neither memory nor time grows with the square of their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import InvalidDecisionError, PolicyFormat, Rollout
from failure_monitor.scores.base.score import InstantScore, ScoreState, ScoreUndefinedError
from failure_monitor.scores.base.shrunk_covariance import CovarianceSum, whitening
from failure_monitor.scores.base.standardisation import CONSTANT_BELOW

MAX_FEATURES = 64
"""Features of a token, or random combinations of them, whose covariance is estimated."""

CHUNK_OF_DECISIONS = 64
"""Decisions whose tokens are computed with at once."""


class TokenDistance(InstantScore):
    """The mean distance of tokens from those of successful rollouts at the same places."""

    name = "token_distance"
    meaning = "its network's tokens are unlike those of successes"
    needs_tokens = True

    def __init__(self, *, means: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        """Create the score from the tokens' distribution.

        Args:
            means: μ, (N, F).
            weights: (F, V), a token's deviation times these has variance 1 / V in each direction.
        """
        self._means = means
        self._weights = weights
        self._offsets = means @ weights

    @property
    def token_shape(self) -> tuple[int, int]:
        """The number and size of the tokens."""
        number, size = self._means.shape
        return number, size

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> TokenDistance:
        """Estimate means and covariance from the rollouts' tokens.

        Raises:
            InvalidDecisionError: rollouts have tokens of other shapes than the first.
            ScoreUndefinedError: a rollout has no tokens, or they never change.
        """
        shape = _shape(rollouts)
        count = sum(map(len, rollouts))
        means = sum((part.sum(axis=0) for part in _parts(rollouts)), np.zeros(shape)) / count
        squares = sum(
            (((part - means) ** 2).sum(axis=(0, 1)) for part in _parts(rollouts)),
            np.zeros(shape[1]),
        )
        deviations = np.sqrt(squares / (count * shape[0]))
        varying = deviations >= CONSTANT_BELOW
        if not varying.any():
            raise ScoreUndefinedError(
                f"{cls.name}: the tokens are the same at every decision, so nothing can be "
                "learned from them: check what the policy publishes, or leave this score out of "
                "the rule"
            )
        scaling = np.where(varying, 1 / np.where(varying, deviations, 1.0), 0.0)
        features = _features(scaling, seed)
        total = CovarianceSum(features.shape[1])
        for part in _parts(rollouts):
            total.add(((part - means) @ features).reshape(-1, features.shape[1]))
        weights = features @ whitening(total.shrunk()) / np.sqrt(features.shape[1])
        return cls(means=means.astype(np.float32), weights=weights.astype(np.float32))

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the mean distance at every decision, (T,).

        Raises:
            InvalidDecisionError: the tokens are missing, of another shape, NaN or infinite.
        """
        if rollout.tokens is None:
            raise InvalidDecisionError(
                f"{rollout.name} has no tokens, which the score {self.name} needs: let the "
                "policy publish them with every decision, or calibrate a rule without it"
            )
        if rollout.tokens.shape[1:] != self.token_shape:
            raise InvalidDecisionError(
                f"the tokens of {rollout.name} have shape {rollout.tokens.shape[1:]}, expected "
                f"(N, F) = {self.token_shape}: the policy was re-trained, or these are another "
                "policy's; calibrate again"
            )
        distances = np.concatenate(
            [self._distances(part) for part in _parts([rollout], np.float32)]
        )
        wrong = np.flatnonzero(~np.isfinite(distances))
        if len(wrong) and not np.isfinite(rollout.tokens[wrong[0]]).all():
            raise InvalidDecisionError(
                f"some of the tokens' values of {rollout.name} are NaN or infinite at decision "
                f"{wrong[0]}: check the policy's network and its inputs"
            )
        return distances

    def _distances(self, tokens: NDArray[np.floating]) -> NDArray[np.float64]:
        apart = tokens @ self._weights - self._offsets
        return np.asarray(np.linalg.norm(apart, axis=-1).mean(axis=-1, dtype=np.float64))

    def state(self) -> ScoreState:
        """Return the distribution."""
        return ScoreState(arrays={"means": self._means, "weights": self._weights})

    @classmethod
    def from_state(cls, state: ScoreState) -> TokenDistance:
        """Restore the score with a stored distribution."""
        return cls(
            means=state.arrays["means"].astype(np.float32),
            weights=state.arrays["weights"].astype(np.float32),
        )


def _shape(rollouts: Sequence[Rollout]) -> tuple[int, int]:
    """Return the number and size of the rollouts' tokens."""
    shapes: dict[tuple[int, ...], str] = {}
    for rollout in rollouts:
        if rollout.tokens is None:
            raise ScoreUndefinedError(
                f"{TokenDistance.name}: {rollout.name} has no tokens: record the topic "
                "policy/tokens with the rollouts, or leave this score out of the rule"
            )
        shapes.setdefault(rollout.tokens.shape[1:], rollout.name)
    if len(shapes) > 1:
        (first, one), (second, other), *_ = shapes.items()
        raise InvalidDecisionError(
            f"the tokens of {one} have shape {first}, those of {other} {second}: calibrate on "
            "rollouts of one policy"
        )
    [(number, size)] = shapes
    if not number * size:
        raise ScoreUndefinedError(
            f"{TokenDistance.name}: the tokens of {rollouts[0].name} have shape {(number, size)} "
            "and hold nothing: check what the policy publishes, or leave this score out of the "
            "rule"
        )
    return number, size


def _parts(
    rollouts: Sequence[Rollout], dtype: type[np.floating] = np.float64
) -> Iterator[NDArray[np.floating]]:
    """Yield the tokens of some decisions at a time, (T, N, F)."""
    for rollout in rollouts:
        assert rollout.tokens is not None
        for begin in range(0, len(rollout), CHUNK_OF_DECISIONS):
            yield rollout.tokens[begin : begin + CHUNK_OF_DECISIONS].astype(dtype, copy=False)


def _features(scaling: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return what makes features of a token's deviation: (F, V)."""
    varying = np.flatnonzero(scaling)
    features = np.zeros((len(scaling), min(len(varying), MAX_FEATURES)))
    if len(varying) <= MAX_FEATURES:
        features[varying, np.arange(len(varying))] = scaling[varying]
        return features
    mixed = np.random.default_rng(seed).normal(size=(len(varying), MAX_FEATURES))
    features[varying] = scaling[varying, np.newaxis] * mixed / np.sqrt(len(varying))
    return features
