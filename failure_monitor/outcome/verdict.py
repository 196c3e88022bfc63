# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the outcome check finds of a rollout that claims success."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class OutcomeWord(Enum):
    """Whether the end of a rollout is like those of true successes."""

    CONFIRMED = "confirmed"
    DOUBTFUL = "doubtful"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class OutcomeVerdict:
    """What is known of the end of a rollout.

    Attributes:
        word: whether it is like the ends of true successes.
        reason: what is unlike them, or why nothing was judged, as text for the operator.
        level: the combined number over its limit: above 1 the end is doubtful. None where
            nothing was judged.
        scores: each part of the end over its own threshold, by name.
        rollouts: n, how many true successes the end is compared with.
        rollouts_below: how many of these lie below it: their ends are more usual.
    """

    word: OutcomeWord
    reason: str
    level: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    rollouts: int = 0
    rollouts_below: int = 0


def not_judged(reason: str) -> OutcomeVerdict:
    """Return that the end was not judged, and why."""
    return OutcomeVerdict(OutcomeWord.NOT_JUDGED, reason)
