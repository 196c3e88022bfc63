# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The positions that sampled chunks reach: the space in which samples are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat


@dataclass(frozen=True)
class ReachedPositions:
    """The positions that chunks reach: their actions, or the sums of their deltas or velocities.

    Attributes:
        indices: the P of the D action dimensions that span the space.
        integrate: whether actions are summed up from the start of the chunk.
    """

    indices: tuple[int, ...]
    integrate: bool

    @classmethod
    def of(cls, policy: PolicyFormat) -> ReachedPositions:
        """Return the positions that a policy's chunks reach."""
        return cls(policy.position_indices, policy.action_kind != "position")

    def __call__(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the positions (..., B, H, P) of chunks (..., B, H, D).

        Sums of deltas or velocities are relative to the start of the chunk.
        """
        dimensions = chunks.shape[-1]
        taken = chunks if self.indices == tuple(range(dimensions)) else chunks[..., self.indices]
        if not self.integrate:
            return taken
        # The sums up to each step, as a matrix product: a third of the time of np.cumsum.
        sums: NDArray[np.float32] = np.tri(chunks.shape[-2], dtype=np.float32) @ taken
        return sums
