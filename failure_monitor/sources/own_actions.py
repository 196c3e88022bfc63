# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether recorded actions are those that a policy sampled, or somebody else's.

At a decision the policy samples again, from what was recorded, what it might do. If it did act,
the recorded actions are one more such sample: as near to the others as these are to each other,
and where the policy draws no noise the same, but for what a video's compression changes. A
person's actions lie further off, unless a policy with noise has learned to imitate just these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_DISTANCE = 0.02
"""Standard deviations of the actions that compression of the frames may cause, over a dataset;
half of it where a policy has noise, for then samples tell what is usual, too."""

MAX_DISTANCE_OF_EPISODE = 0.1
"""The same in a single episode, which may be an odd one."""

MAX_SURPRISE = 3.4
"""Standard errors by which recorded actions may be further off than samples usually are."""


@dataclass(frozen=True)
class OwnActions:
    """How far recorded actions are from the policy's, at some decisions.

    Attributes:
        distances: From the recorded actions to the nearest sample, in standard deviations of the
            actions, (N,).
        noises: From a sample to the nearest other, the median, likewise; 0 where there is one.
        ranks: The share of samples that are nearer to another than the recorded actions are, (N,);
            0.5 on average where these are a sample like all others, 1 where there is one.
    """

    distances: NDArray[np.float64]
    noises: NDArray[np.float64]
    ranks: NDArray[np.float64]

    @property
    def distance(self) -> float:
        """The usual distance."""
        return float(np.median(self.distances))

    @property
    def noise(self) -> float:
        """The usual distance between samples."""
        return float(np.median(self.noises))

    @property
    def surprise(self) -> float:
        """By how many standard errors the mean rank is above that of samples."""
        return float((self.ranks.mean() - 0.5) * math.sqrt(12 * len(self.ranks)))

    def are_own(self, max_distance: float = MAX_DISTANCE) -> bool:
        """Whether the actions may be the policy's."""
        if not self.noises.any():
            return self.distance <= max_distance
        return self.distance <= max_distance / 2 or self.surprise <= MAX_SURPRISE


def compare_actions(
    chunks: Iterable[NDArray[np.float32]],
    executed: Iterable[NDArray[np.float32]],
    scale: NDArray[np.float64],
) -> OwnActions | None:
    """Compare recorded actions with what was sampled at the same decisions.

    Args:
        chunks: The sampled chunks of each decision, (B, H, D).
        executed: The actions that were executed until the next one, (k, D).
        scale: The standard deviations of the actions, (D,).

    Returns:
        The comparison; None without a decision.
    """
    compared = [
        _compared(samples / scale, actions / scale)
        for samples, actions in zip(chunks, executed, strict=True)
        if len(actions)
    ]
    return OwnActions(*np.array(compared).T) if compared else None


def pooled(some: Iterable[OwnActions]) -> OwnActions:
    """Return the comparison at the decisions of several."""
    parts = [(own.distances, own.noises, own.ranks) for own in some]
    return OwnActions(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def nearest_sample(samples: NDArray[np.float32], actions: NDArray[np.float32]) -> int:
    """Return the number of the sample (B, H, D) that begins most like some actions (k, D)."""
    steps = min(len(actions), samples.shape[1])
    return int(np.abs(samples[:, :steps] - actions[:steps]).mean(axis=(1, 2)).argmin())


def _compared(
    samples: NDArray[np.float64], actions: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the distance, the noise and the rank at one decision."""
    steps = min(len(actions), samples.shape[1])
    points = np.concatenate([actions[np.newaxis, :steps], samples[:, :steps]])
    flat = points.reshape(len(points), -1)
    apart = np.stack([np.sqrt(((flat - point) ** 2).mean(axis=1)) for point in flat])
    np.fill_diagonal(apart, np.inf)
    nearest = apart.min(axis=1)
    if len(samples) == 1:
        return float(nearest[0]), 0.0, 1.0
    noise = float(np.median(apart[1:, 1:].min(axis=1)))
    # Of equal ones each is as near as the other.
    others = nearest[1:]
    rank = (np.sum(others < nearest[0]) + 0.5 * np.sum(others == nearest[0])) / len(others)
    return float(nearest[0]), noise, float(rank)
