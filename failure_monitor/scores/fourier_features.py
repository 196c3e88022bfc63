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

from failure_monitor.scores.score import ScoreState

WAVES = 256


@dataclass(frozen=True, eq=False)
class FourierFeatures:
    """The map φ.

    Attributes:
        frequencies: ω, float64 (F, M).
        phases: b, float64 (M,).
    """

    frequencies: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def draw(cls, size: int, seed: int) -> FourierFeatures:
        """Random ones of so many inputs."""
        random = np.random.default_rng(seed)
        frequencies = random.normal(size=(size, WAVES)) / np.sqrt(size)
        return cls(frequencies, random.uniform(0, 2 * np.pi, WAVES))

    def __call__(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """φ, (N, F) to (N, M + F + 1)."""
        waves = np.cos(inputs @ self.frequencies + self.phases)
        return np.concatenate([waves, inputs, np.ones((len(inputs), 1))], axis=1)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What is to be stored."""
        return {"frequencies": self.frequencies, "phases": self.phases}

    @classmethod
    def from_state(cls, state: ScoreState) -> FourierFeatures:
        """The map that was stored."""
        return cls(
            frequencies=state.arrays["frequencies"].astype(np.float64),
            phases=state.arrays["phases"].astype(np.float64),
        )
