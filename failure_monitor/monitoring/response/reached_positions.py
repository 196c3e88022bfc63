# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where the actions of sampled chunks lead: the space in which samples are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat


@dataclass(frozen=True)
class ReachedPositions:
    """Turns chunks into positions: the policy's own, or the sums of its deltas or velocities.

    Attributes:
        indices: which P of the D action dimensions span the space.
        integrate: whether actions are summed up from the chunk's start on.
    """

    indices: tuple[int, ...]
    integrate: bool

    @classmethod
    def of(cls, policy: PolicyFormat) -> ReachedPositions:
        """Those of a policy's chunks."""
        return cls(policy.position_indices, policy.action_kind != "position")

    def __call__(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Chunks (..., B, H, D) to positions (..., B, H, P); deltas are relative to the start."""
        dimensions = chunks.shape[-1]
        taken = chunks if self.indices == tuple(range(dimensions)) else chunks[..., self.indices]
        if not self.integrate:
            return taken
        # The sums up to each step, as a product: a third of the time of np.cumsum.
        sums: NDArray[np.float32] = np.tri(chunks.shape[-2], dtype=np.float32) @ taken
        return sums
