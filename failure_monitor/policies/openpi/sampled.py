# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What sampling many chunks from a served model yields, and what the model must offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.policies.policy_class import UnsupportedPolicyError

COARSE = 5e-2
FINE = 1e-3
"""How far a chunk may lie from that of the unwatched policy, in normalised actions, in half and in
single precision: the library may sum a batch in another order than a single row."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """The chunks of one observation, as the model has them: normalised and padded.

    Attributes:
        executed: what the unwatched model would have returned, (1, H, D), of its own library.
        chunks: all chunks, (B, H, D); the first is the executed one.
        embedding: the mean of the valid tokens of the encoded observation, (E,).
        extras: further scores of the decision, by name; larger is worse.
    """

    executed: Any
    chunks: NDArray[np.float32]
    embedding: NDArray[np.float32]
    extras: Mapping[str, float] = field(default_factory=dict)


def require(owner: Any, *paths: str) -> None:
    """Reject what lacks an attribute.

    Raises:
        UnsupportedPolicyError: it lacks one.
    """
    missing = [path for path in paths if not _has(owner, path)]
    if missing:
        raise UnsupportedPolicyError(
            f"a {type(owner).__name__} has no {', '.join(missing)}, so its policy cannot be "
            "watched: it is not openpi's pi0 or pi0.5, or of another version; serve it as it is, "
            "and TappedClient watches its one chunk"
        )


def check_unchanged(
    chunk: NDArray[np.float32], unwatched: NDArray[np.float32], *, is_coarse: bool
) -> None:
    """Reject sampling that changes what is executed.

    Args:
        chunk: the executed chunk, sampled with others.
        unwatched: that of the policy alone, for the same noise.
        is_coarse: whether the policy computes in half precision.

    Raises:
        UnsupportedPolicyError: they differ.
    """
    difference = float(np.abs(chunk - unwatched).max())
    allowed = COARSE if is_coarse else FINE
    if not difference <= allowed * max(1.0, float(np.abs(unwatched).max())):
        raise UnsupportedPolicyError(
            f"chunks sampled together differ by {difference:.3g} from that of the policy alone "
            "for the same noise: the model is not as openpi has it, or of another version"
        )


def _has(owner: Any, path: str) -> bool:
    try:
        attrgetter(path)(owner)
    except AttributeError:
        return False
    return True
