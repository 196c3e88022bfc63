# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The response table: one reaction for each state of the alarm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import specification
from failure_monitor.parameters.response import ReactionParameters


class Reaction(Enum):
    """The reaction to a state of the alarm, from the mildest to the strongest."""

    GO = "go"
    """Commands pass, at full speed."""
    SLOW = "slow"
    """Commands pass, the slower the nearer to the alarm."""
    REPLAN = "replan"
    """Commands pass, slowly, and the policy decides again after every action."""
    HOLD = "hold"
    """No command passes until the state improves."""
    HALT = "halt"
    """No command passes until a reset, and the stop menu stops the policy."""

    @property
    def permits(self) -> bool:
        """Whether commands may pass."""
        return self in (Reaction.GO, Reaction.SLOW, Reaction.REPLAN)


DEFAULTS = ReactionParameters()

ALLOWED: Mapping[str, tuple[Reaction, ...]] = {
    state: tuple(map(Reaction, specification(ReactionParameters, state).choices))
    for state in ("nominal", "caution", "alarm", "stale")
}
"""Reactions allowed in each state: no command may pass while decisions or inputs are missing."""


@dataclass(frozen=True)
class ResponseTable:
    """The reaction to each state. A table that could let an unwatched robot move is rejected.

    Attributes:
        nominal: the reaction while every score is below its threshold.
        caution: the reaction while one of the rule's scores is above its threshold.
        alarm: the reaction while the rule holds.
        stale: the reaction while decisions or other inputs are missing.
        max_replans: number of decisions in an alarm for which the policy may re-plan before it is
            halted.
    """

    nominal: Reaction = Reaction(DEFAULTS.nominal)
    caution: Reaction = Reaction(DEFAULTS.caution)
    alarm: Reaction = Reaction(DEFAULTS.alarm)
    stale: Reaction = Reaction(DEFAULTS.stale)
    max_replans: int = DEFAULTS.most_replans

    def __post_init__(self) -> None:
        if self.max_replans < 1:
            raise UsageError(
                f"the policy cannot re-plan for {self.max_replans} decisions: choose 1 or more, "
                "or another response to ALARM"
            )
        for state, allowed in ALLOWED.items():
            if getattr(self, state) not in allowed:
                raise UsageError(_rejection(state, getattr(self, state).value))

    @classmethod
    def from_names(
        cls, names: Mapping[str, str], *, max_replans: int = DEFAULTS.most_replans
    ) -> ResponseTable:
        """Return the table that parameters state.

        Args:
            names: the names of the reactions, by the states' names in lower case.
            max_replans: as in the table.

        Raises:
            UsageError: a name is of no reaction, or of one that is not allowed in the state.
        """
        known = {reaction.value: reaction for reaction in Reaction}
        for state, name in names.items():
            if name not in known:
                raise UsageError(_rejection(state, name))
        reactions = {state: known[name] for state, name in names.items()}
        return cls(**reactions, max_replans=max_replans)


def _rejection(state: str, name: str) -> str:
    allowed = ", ".join(reaction.value for reaction in ALLOWED[state])
    return f"the response to {state.upper()} cannot be '{name}': choose one of {allowed}"
