# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What watching a policy yields at every decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class WatchedDecision:
    """One decision of a policy that is watched.

    Attributes:
        embedding: the observation embedding, float32 (E,); (0,) if the policy gives none.
        chunks: the sampled action chunks in the robot's units, float32 (B, H, D); the first is
            executed.
        is_executed: whether the policy decided; if not, the decision was taken for watching only,
            between two decisions of the policy.
        extras: what the policy gives away of its doubt as it decides, by name; larger is worse.
        tokens: the last layer's tokens of its network, float32 (N, F); None if it has none.
    """

    embedding: NDArray[np.float32]
    chunks: NDArray[np.float32]
    is_executed: bool = True
    extras: Mapping[str, float] = field(default_factory=dict)
    tokens: NDArray[np.float32] | None = None


OnDecision = Callable[[WatchedDecision], None]
"""Receives a decision in the thread of the policy, before its action is executed."""
