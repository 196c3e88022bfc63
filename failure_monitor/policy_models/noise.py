# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The noise that a policy sampler turns into action chunks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.policy_models.contract import NoiseDistribution


class NoiseStream:
    """A stream of random numbers that is the same in every rollout.

    A rollout's first decision takes the first numbers, the next decision those that follow. So
    the same observations give the same chunks on the robot and in calibration on its bag, whether
    numbers are drawn for one decision or for many (with the same version of numpy).
    """

    def __init__(self, shape: tuple[int, ...], noise: NoiseDistribution, *, seed: int) -> None:
        """Create the stream at the start of a rollout.

        Args:
            shape: the shape of the noise for one chunk.
            noise: the distribution of the noise.
            seed: the seed of all numbers.
        """
        self._shape = shape
        self._noise = noise
        self._seed = seed
        self.start_rollout()

    def start_rollout(self) -> None:
        """Start the stream again."""
        self._random = np.random.default_rng(self._seed)

    def draw(self, *counts: int) -> NDArray[np.float32]:
        """Draw noise for B samples, float32 (B, …), or for T decisions of B samples, (T, B, …)."""
        shape = (*counts, *self._shape)
        if self._noise == "uniform":
            return self._random.random(shape, dtype=np.float32)
        return self._random.standard_normal(shape, dtype=np.float32)
