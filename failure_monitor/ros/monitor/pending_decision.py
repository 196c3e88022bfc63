# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A decision whose messages have all arrived, before any model has run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.joint_motion import JointMotion
from failure_monitor.messages.matching import MatchedMessages

EMBEDDING, CHUNKS = "embedding", "chunks"
"""The two parts of a decision. Messages of cameras and joints may stand for the first."""

TOKENS = "tokens"
"""What further a policy may publish of a decision."""


@dataclass(frozen=True, eq=False)
class PendingDecision:
    """What was received for one decision.

    Attributes:
        number: its number in the rollout.
        stamp: the stamp of the observation, in nanoseconds.
        observation: the embedding that the policy published, float32 (E,), which is empty where it
            has none; or the messages of cameras and joints that an encoder embeds.
        chunks: float32 (B, H, D), as the policy published them; None if a sampler makes them.
        positions: float32 (P,), the measured positions of the robot; None if no score needs them.
        joints: what the joints did since the decision before; None if no score needs it.
        external: the newest values of external scores, by their names.
        tokens: float32 (N, F), as the policy published them; None if no score needs them.
        age: seconds by which the observation was older than the reception, by its stamp.
    """

    number: int
    stamp: int
    observation: NDArray[np.float32] | MatchedMessages
    chunks: NDArray[np.float32] | None
    positions: NDArray[np.float32] | None
    joints: JointMotion | None
    external: Mapping[str, float]
    tokens: NDArray[np.float32] | None
    age: float
