# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A learned probe: a direction in a hidden layer of the policy, along which failures lie.

It is learned from labelled rollouts that are not used to calibrate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_VARIANCE = 1e-6
"""Of a value of the hidden layer that hardly changes."""


@dataclass(frozen=True)
class Probe:
    """A linear discriminant: the difference of the means, each value by its own variance.

    Attributes:
        direction: (E,).
        middle: (E,), half way between failures and successes.
    """

    direction: NDArray[np.float64]
    middle: NDArray[np.float64]

    @classmethod
    def of(cls, successes: NDArray[np.float32], failures: NDArray[np.float32]) -> Probe:
        """Learn from hidden values of decisions of successes (N, E) and of failures (M, E)."""
        good, bad = successes.mean(axis=0, dtype=float), failures.mean(axis=0, dtype=float)
        variance = (successes.var(axis=0) + failures.var(axis=0)) / 2 + MIN_VARIANCE
        return cls((bad - good) / variance, (bad + good) / 2)

    def score(self, hidden: NDArray[np.float32]) -> dict[str, float]:
        """Return how far towards failures the hidden values (E,) of a decision lie, from 0 on."""
        return {"probe": float(np.logaddexp(0, (hidden - self.middle) @ self.direction))}
