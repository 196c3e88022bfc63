# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Features brought to zero mean and unit variance, as they vary over the fitting rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, Rollout
from failure_monitor.scores.base.score import ScoreState, ScoreUndefinedError

CONSTANT_BELOW = 1e-4
"""A feature with a smaller standard deviation is left out: divided by it, noise would explode."""
CLIP = 10.0
"""Standardised features are clipped to ±CLIP."""

Floats = TypeVar("Floats", NDArray[np.float32], NDArray[np.float64])


@dataclass(frozen=True, eq=False)
class Standardisation:
    """Drops features that are near constant, and scales and clips the others.

    Attributes:
        varying: int64 (V,), which of the features are kept.
        mean: float64 (V,), of each of these.
        deviation: float64 (V,), of each of these.
    """

    varying: NDArray[np.int64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def fit(cls, features: NDArray[np.floating], what: str) -> Standardisation:
        """Return the statistics of fitting features (N, F).

        Args:
            features: one row per decision.
            what: what errors call them.

        Raises:
            ScoreUndefinedError: there are none, or none of them varies.
        """
        if not features.shape[1]:
            raise ScoreUndefinedError(
                f"{what} are missing, as the policy publishes none: let it publish them, or leave "
                "this score out of the rule"
            )
        values = features.astype(np.float64)
        deviation = values.std(axis=0)
        varying = np.flatnonzero(deviation >= CONSTANT_BELOW)
        if not len(varying):
            raise ScoreUndefinedError(
                f"{what} are the same at every decision (no feature has a standard deviation of "
                f"{CONSTANT_BELOW:g} or more), so nothing can be learned from them: check what "
                "the policy publishes and in which units, or leave this score out of the rule"
            )
        return cls(varying, values.mean(axis=0)[varying], deviation[varying])

    @classmethod
    def of_embeddings(cls, rollouts: Sequence[Rollout], score: str) -> Standardisation:
        """Return the standardisation of the observation embeddings, for the score of that name."""
        return cls.fit(
            np.concatenate([rollout.embeddings for rollout in rollouts]),
            f"{score}: the embeddings",
        )

    @classmethod
    def of_mean_chunks(cls, rollouts: Sequence[Rollout], score: str) -> Standardisation:
        """Return the standardisation of the mean chunks, for the score of that name."""
        return cls.fit(
            np.concatenate([mean_chunks(rollout) for rollout in rollouts]),
            f"{score}: the mean action chunks",
        )

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Standardise features (..., F) to (..., V)."""
        if features.shape[-1] != self._kept_whole:
            features = features.take(self.varying, axis=-1)
        scaled = features - self.mean
        scaled /= self.deviation
        return clip(scaled)

    def of_embedding(self, decision: Decision) -> NDArray[np.float64]:
        """Return the standardised embedding of a decision, (V,), the same to all that ask."""
        return decision.once(
            ("standardised embedding", self.identity), lambda: self(decision.embedding)
        )

    @cached_property
    def identity(self) -> bytes:
        """What only those have in common that standardise alike."""
        return digest(self.varying, self.mean, self.deviation)

    @cached_property
    def _kept_whole(self) -> int:
        """The number of features of which all are kept; -1 where some are left out."""
        size = len(self.varying)
        return size if np.array_equal(self.varying, np.arange(size)) else -1

    def only(self, places: NDArray[np.int64]) -> Standardisation:
        """Return that of some of the kept features, by their places among these."""
        return Standardisation(self.varying[places], self.mean[places], self.deviation[places])

    def arrays(self, prefix: str) -> dict[str, NDArray[np.generic]]:
        """Return what is to be stored, under names that begin with `prefix`."""
        return {
            f"{prefix}_varying": self.varying,
            f"{prefix}_mean": self.mean,
            f"{prefix}_deviation": self.deviation,
        }

    @classmethod
    def from_state(cls, state: ScoreState, prefix: str) -> Standardisation:
        """Return the one that was stored under `prefix`."""
        return cls(
            varying=state.arrays[f"{prefix}_varying"].astype(np.int64),
            mean=state.arrays[f"{prefix}_mean"].astype(np.float64),
            deviation=state.arrays[f"{prefix}_deviation"].astype(np.float64),
        )


def clip(values: Floats) -> Floats:
    """Clip values in place to ±CLIP, in half the time of `np.clip`; return them."""
    np.maximum(values, -CLIP, out=values)
    np.minimum(values, CLIP, out=values)
    return values


def digest(*arrays: NDArray[np.generic]) -> bytes:
    """Return what tells arrays from others of the same types."""
    hashed = blake2b(digest_size=16)
    for array in arrays:
        hashed.update(repr(array.shape).encode())
        hashed.update(array.tobytes())
    return hashed.digest()


def mean_chunks(rollout: Rollout) -> NDArray[np.float32]:
    """Return the mean over the sampled chunks of every decision, flattened: (T, H·D)."""
    return np.stack([decision.mean_chunk for decision in rollout.decisions()])


def executed_chunks(rollout: Rollout) -> NDArray[np.float32]:
    """Return the chunk of every decision that is executed, the first, flattened: (T, H·D)."""
    return rollout.chunks[:, 0].reshape(len(rollout), -1)
