# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The few directions in which many features vary most."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision
from failure_monitor.scores.base.score import ScoreState
from failure_monitor.scores.base.standardisation import Standardisation, digest


@dataclass(frozen=True, eq=False)
class PrincipalFeatures:
    """Standardised features, of many only what they vary in most.

    Attributes:
        standardisation: of the V features that vary.
        components: float32 (V, P), what each contributes to P directions; None where P is V.
    """

    standardisation: Standardisation
    components: NDArray[np.float32] | None = None

    @classmethod
    def fit(
        cls, features: NDArray[np.floating], what: str, most: int | None = None
    ) -> PrincipalFeatures:
        """Return the statistics of fitting features (N, F).

        Args:
            features: one row per decision.
            what: what errors call them.
            most: how many directions at most; None for as many as there are features.

        Raises:
            ScoreUndefinedError: none of them varies.
        """
        standardisation = Standardisation.fit(features, what)
        if most is None:
            return cls(standardisation)
        return cls(standardisation, principal_components(standardisation(features), most))

    @property
    def size(self) -> int:
        """P, how many features there are."""
        if self.components is None:
            return len(self.standardisation.varying)
        return int(self.components.shape[1])

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Bring features (..., F) to (..., P)."""
        return self._reduced(self.standardisation(features))

    def of_embedding(self, decision: Decision) -> NDArray[np.float32]:
        """Return the features of a decision's embedding, (P,), the same to all that ask."""
        return decision.once(
            ("embedding", self.identity),
            lambda: self._reduced(self.standardisation.of_embedding(decision)),
        )

    def of_mean_chunk(self, decision: Decision) -> NDArray[np.float32]:
        """Return the features of a decision's mean chunk, (P,), the same to all that ask."""
        return decision.once(("mean chunk", self.identity), lambda: self(decision.mean_chunk))

    @cached_property
    def identity(self) -> bytes:
        """What only those have in common that make the same of features."""
        of_components = () if self.components is None else (self.components,)
        return self.standardisation.identity + digest(*of_components)

    def _reduced(self, standardised: NDArray[np.float64]) -> NDArray[np.float32]:
        single = standardised.astype(np.float32)
        return single if self.components is None else single @ self.components

    def arrays(self, prefix: str) -> dict[str, NDArray[np.generic]]:
        """Return what is to be stored, under names that begin with `prefix`."""
        components = {} if self.components is None else {f"{prefix}_components": self.components}
        return {**self.standardisation.arrays(prefix), **components}

    @classmethod
    def from_state(cls, state: ScoreState, prefix: str) -> PrincipalFeatures:
        """Return the one that was stored under `prefix`."""
        components = state.arrays.get(f"{prefix}_components")
        return cls(
            Standardisation.from_state(state, prefix),
            None if components is None else components.astype(np.float32, order="C"),
        )


def principal_components(features: NDArray[np.float64], most: int) -> NDArray[np.float32] | None:
    """Return the directions of largest variance, or None if there are no more features than that.

    They are stretched alike, so that the mean variance along them is that of the features.

    Args:
        features: (N, V), of mean 0.
        most: P, how many directions.

    Returns:
        (V, P), or fewer where the features do not vary in so many.
    """
    count, size = features.shape
    if size <= most:
        return None
    # Imported here: fitting alone needs it, and the monitor starts sooner without it.
    from scipy.linalg import eigh

    if size <= count:
        last = (size - most, size - 1)
        variances, directions = eigh(features.T @ features, subset_by_index=last)
    else:
        last = (max(count - most, 0), count - 1)
        variances, of_rows = eigh(features @ features.T, subset_by_index=last)
        directions = features.T @ of_rows
    varies = variances > 1e-9 * variances[-1]
    variances, directions = variances[varies][::-1], directions[:, varies][:, ::-1]
    directions = directions / np.linalg.norm(directions, axis=0)
    # The sign of a direction is arbitrary: fixed, so that the same rollouts give the same model.
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(len(largest))])
    mean_square = np.mean(features**2)
    stretch = np.sqrt(mean_square * count * len(variances) / variances.sum())
    return np.ascontiguousarray(stretch * directions, dtype=np.float32)
