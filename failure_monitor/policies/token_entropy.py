# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How undecided an autoregressive policy was when it decoded an action: an extra for its tap.

tap.publish(embedding, chunks, stamp, extras={"token_entropy": token_entropy(logits)})
"""

from __future__ import annotations

from typing import Any

import numpy as np

from failure_monitor.messages.policy_arrays import float_array


def token_entropy(logits: Any) -> float:
    """Return the mean entropy of the decoded tokens, in nats: 0 for one that is certain.

    Args:
        logits: of every decoded token, (N, V) for N tokens out of V, as numpy array or torch
            tensor; −∞ for what may not be chosen. Leave out padding.

    Raises:
        ValueError: they have another shape, or are undefined.
    """
    values = float_array(logits, "logits").astype(np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"logits have shape (N, V), got {values.shape}: leave out the batch")
    largest = values.max(axis=1, keepdims=True)
    if not np.isfinite(largest).all():
        raise ValueError("the logits of a token are NaN, or none of them is finite: check them")
    weights = np.exp(values - largest)
    chances = weights / weights.sum(axis=1, keepdims=True)
    surprise = -np.log(np.where(chances > 0, chances, 1.0))
    return float((chances * surprise).sum(axis=1).mean())
