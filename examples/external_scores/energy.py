# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The energy of an energy-based policy, such as implicit behavioural cloning.

Such a policy executes the actions to which its network gives the lowest energy. Where even that
is high, nothing that it could do resembles its demonstrations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Energy = Callable[[NDArray[np.float32], NDArray[np.float32]], float]
"""The policy's network: the energy of a chunk (H, D), given an observation embedding (E,)."""


def energy_score(
    energy: Energy, embedding: NDArray[np.float32], chunks: NDArray[np.float32]
) -> dict[str, float]:
    """Return the energy of the chunk that is executed, the first of the chunks (B, H, D)."""
    return {"energy": float(energy(embedding, chunks[0]))}
