# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a decision as soon as nothing is left to wait for, before any model has run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.messages.matching import MatchedMessages

EMBEDDING, CHUNKS = "embedding", "chunks"
"""The two halves of a decision. In the place of the first there may be what was seen."""


@dataclass(frozen=True, eq=False)
class Observed:
    """The messages of one decision.

    Attributes:
        stamp: of the observation, in nanoseconds.
        seen: the embedding that the policy published, float32 (E,), or the messages of cameras
            and joints that an encoder makes one of.
        chunks: float32 (B, H, D), as the policy published them; None if a sampler makes them.
        positions: float32 (P,), where the robot was measured to be; None if no score asks.
        external: the newest values of external scores, by their names.
    """

    stamp: int
    seen: NDArray[np.float32] | MatchedMessages
    chunks: NDArray[np.float32] | None
    positions: NDArray[np.float32] | None
    external: Mapping[str, float]
