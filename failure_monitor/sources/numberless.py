# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What stays of rollouts whose numbers are stored elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.sources.source import SourceContents


def without_numbers(contents: SourceContents) -> SourceContents:
    """Return the contents of a source, whose rollouts have their shapes but no numbers."""
    # Copied: a view would keep the memory of all that came with it.
    receptions = tuple(replace(each, delays=np.array(each.delays)) for each in contents.receptions)
    rollouts = tuple(_without_numbers(rollout) for rollout in contents.rollouts)
    return replace(contents, rollouts=rollouts, receptions=receptions)


def _without_numbers(rollout: Rollout) -> Rollout:
    acted = None
    if rollout.interventions is not None:
        acted = np.broadcast_to(rollout.has_intervention, rollout.interventions.shape)
    return replace(
        rollout,
        stamps=_shape_of(rollout.stamps),
        embeddings=_shape_of(rollout.embeddings),
        chunks=_shape_of(rollout.chunks),
        positions=None,
        external={},
        interventions=acted,
        joints=None,
        tokens=None,
    )


def _shape_of(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of the same shape that takes the memory of one number."""
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)
