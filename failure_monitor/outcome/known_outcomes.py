# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""By whom it is known how rollouts ended, and which claims were wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from failure_monitor.decision import Rollout
from failure_monitor.listed_names import list_names
from failure_monitor.schema import plain

WORDS = {
    "labels": "by labels",
    "operator": "by the operator",
    "claim": "as claimed",
    "intervention": "by a human who intervened",
    "source": "as their source states",
    "unknown": "not at all",
}
"""How it is known, from the best to the least."""


@dataclass(frozen=True)
class KnownOutcomes:
    """By whom the outcomes of rollouts are known.

    Attributes:
        rollouts: how many are known by whom; the names are those of `WORDS`.
        false_successes: the names of those that claimed success and failed.
        false_failures: the names of those that claimed failure and succeeded.
    """

    rollouts: Mapping[str, int]
    false_successes: tuple[str, ...]
    false_failures: tuple[str, ...]

    @classmethod
    def of(cls, rollouts: Sequence[Rollout]) -> KnownOutcomes:
        """Return by whom the outcomes of some rollouts are known."""
        counts = Counter(_known_by(rollout) for rollout in rollouts)
        wrong = [
            rollout
            for rollout in rollouts
            if None not in (rollout.claim, rollout.success)
            and rollout.claim is not rollout.success
            and not rollout.has_intervention
        ]
        return cls(
            {who: counts[who] for who in WORDS if counts[who]},
            tuple(rollout.name for rollout in wrong if rollout.claim),
            tuple(rollout.name for rollout in wrong if not rollout.claim),
        )

    @property
    def text(self) -> str:
        """All in one sentence, without its end."""
        parts = [f"{number} {WORDS[who]}" for who, number in self.rollouts.items()]
        for claimed, names in (
            ("success", self.false_successes),
            ("failure", self.false_failures),
        ):
            if names:
                parts.append(
                    f"{claimed} was falsely claimed of {len(names)} ({list_names(names)})"
                )
        return f"outcomes are known: {', '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """Return everything in JSON's own types."""
        content: dict[str, Any] = plain(self)
        return content


def _known_by(rollout: Rollout) -> str:
    if rollout.has_intervention:
        return "intervention"
    return rollout.outcome_by or ("unknown" if rollout.success is None else "source")
