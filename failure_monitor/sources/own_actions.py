# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether recorded actions are those that a policy sampled, or somebody else's.

At a decision the policy samples again, from what was recorded, what it might do. If it did act,
the recorded actions are one more such sample, as near to the others as these are to each other,
but for what a video's compression changes. A person's actions lie further off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOOR = 0.1
"""Distance in standard deviations of the actions that compression of the frames may cause."""

MAX_RATIO = 3.0
"""How many times further than samples from each other recorded actions may be from the nearest."""


@dataclass(frozen=True)
class OwnActions:
    """How far recorded actions are from the policy's.

    Attributes:
        distance: To the nearest sample, the median over decisions, in standard deviations of the
            actions.
        noise: From a sample to the nearest other, likewise; 0 where there is one.
    """

    distance: float
    noise: float

    @property
    def are_own(self) -> bool:
        """Whether the actions may be the policy's."""
        return self.distance <= max(FLOOR, MAX_RATIO * self.noise)


def compare_actions(
    chunks: list[NDArray[np.float32]],
    executed: list[NDArray[np.float32]],
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
    distances, noises = [], []
    for samples, actions in zip(chunks, executed, strict=True):
        steps = min(len(actions), samples.shape[1])
        if not steps:
            continue
        own = (samples[:, :steps] / scale).reshape(len(samples), -1)
        recorded = (actions[:steps] / scale).reshape(1, -1)
        distances.append(_apart(own, recorded).min())
        if len(own) > 1:
            between = np.stack([_apart(own, one[np.newaxis]) for one in own])
            np.fill_diagonal(between, np.inf)
            noises.append(np.median(between.min(axis=1)))
    if not distances:
        return None
    return OwnActions(float(np.median(distances)), float(np.median(noises)) if noises else 0.0)


def nearest_sample(samples: NDArray[np.float32], actions: NDArray[np.float32]) -> int:
    """Return the number of the sample (B, H, D) that begins most like some actions (k, D)."""
    steps = min(len(actions), samples.shape[1])
    return int(np.abs(samples[:, :steps] - actions[:steps]).mean(axis=(1, 2)).argmin())


def _apart(some: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(((some - one) ** 2).mean(axis=1)))
