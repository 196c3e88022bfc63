# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The confidence of a language-conditioned policy that emits actions as tokens, as OpenVLA does.

Such a policy gives each token of an action a probability. Asked for what it never learned, or
before an unfamiliar scene, it spreads that over many tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confidence_score(logits: NDArray[np.float32], tokens: NDArray[np.int64]) -> dict[str, float]:
    """Return the mean surprise of a chunk's tokens, in nats: low where the policy is confident.

    Args:
        logits: of every token that was emitted, (N, vocabulary).
        tokens: which were emitted, (N,).
    """
    highest = logits.max(axis=1, keepdims=True)
    total = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
    return {"surprise": float(np.mean(total - logits[np.arange(len(tokens)), tokens]))}
