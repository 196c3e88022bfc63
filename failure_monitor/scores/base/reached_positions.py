# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The positions that action chunks reach: the space in which samples are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat

Number = TypeVar("Number", np.float32, np.float64)


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

    def __call__(self, chunks: NDArray[Number]) -> NDArray[Number]:
        """Return the positions (..., H, P) of chunks (..., H, D).

        Sums of deltas or velocities are relative to the start of the chunk and in units of one
        action.
        """
        dimensions = chunks.shape[-1]
        actions = chunks if self.indices == tuple(range(dimensions)) else chunks[..., self.indices]
        return sums_over_steps(actions) if self.integrate else actions


def sums_over_steps(actions: NDArray[Number]) -> NDArray[Number]:
    """Return the sum of the actions (..., H, P) up to each step, (..., H, P)."""
    # As a matrix product it takes a third of the time of np.cumsum.
    sums: NDArray[Number] = np.tri(actions.shape[-2], dtype=actions.dtype) @ actions
    return sums
