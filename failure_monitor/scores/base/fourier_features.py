# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Random Fourier features, with which a linear model fits smooth functions.

    φ(x) = [cos(ωᵀx + b), x, 1],    ω ~ N(0, 1 / F), b ~ U(0, 2π)

of F standardised inputs x. Rahimi and Recht, "Random Features for Large-Scale Kernel Machines",
NeurIPS 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.scores.base.score import ScoreState

WAVES = 256
ONE = np.ones(1, np.float32)


@dataclass(frozen=True, eq=False)
class FourierFeatures:
    """The map φ.

    Attributes:
        frequencies: ω, float32 (F, M).
        phases: b, float32 (M,).
    """

    frequencies: NDArray[np.float32]
    phases: NDArray[np.float32]

    @classmethod
    def draw(cls, size: int, seed: int) -> FourierFeatures:
        """Random ones of so many inputs."""
        random = np.random.default_rng(seed)
        frequencies = random.normal(size=(size, WAVES)) / np.sqrt(size)
        phases = random.uniform(0, 2 * np.pi, WAVES)
        return cls(frequencies.astype(np.float32), phases.astype(np.float32))

    def __call__(self, inputs: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return φ of inputs (..., F), (..., M + F + 1)."""
        inputs = inputs.astype(np.float32, copy=False)
        waves = inputs @ self.frequencies
        waves += self.phases
        np.cos(waves, out=waves)
        one = ONE if inputs.ndim == 1 else np.ones((*inputs.shape[:-1], 1), np.float32)
        return np.concatenate([waves, inputs, one], axis=-1)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what is to be stored."""
        return {"frequencies": self.frequencies, "phases": self.phases}

    @classmethod
    def from_state(cls, state: ScoreState) -> FourierFeatures:
        """Return the map that was stored."""
        return cls(
            frequencies=state.arrays["frequencies"].astype(np.float32),
            phases=state.arrays["phases"].astype(np.float32),
        )
