# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a decision as soon as nothing is left to wait for, before any model has run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision


@dataclass(frozen=True, eq=False)
class Observed:
    """The messages of one decision.

    Attributes:
        stamp: of the observation, in nanoseconds.
        embedding: float32 (E,), as the policy published it.
        chunks: float32 (B, H, D), likewise.
        external: the newest values of external scores, by their names.
    """

    stamp: int
    embedding: NDArray[np.float32]
    chunks: NDArray[np.float32]
    external: Mapping[str, float]


def as_published(observed: Observed) -> Decision:
    """The decision of which the policy published both halves."""
    return Decision(
        1e-9 * observed.stamp, observed.embedding, observed.chunks, external=observed.external
    )
