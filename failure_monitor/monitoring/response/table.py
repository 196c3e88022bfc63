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
    """What is done while the alarm is in a state; from the mildest to the strongest."""

    GO = "go"
    """Commands pass, at full speed."""
    SLOW = "slow"
    """Commands pass, the slower the nearer the alarm."""
    REPLAN = "replan"
    """Commands pass, slowly, and the policy decides anew after every action."""
    HOLD = "hold"
    """No command passes until the state is better."""
    HALT = "halt"
    """No command passes until a reset, and the policy is stopped by the halting menu."""

    @property
    def permits(self) -> bool:
        """Whether commands may pass."""
        return self in (Reaction.GO, Reaction.SLOW, Reaction.REPLAN)


DEFAULTS = ReactionParameters()

ALLOWED: Mapping[str, tuple[Reaction, ...]] = {
    state: tuple(map(Reaction, specification(ReactionParameters, state).choices))
    for state in ("nominal", "caution", "alarm", "stale")
}
"""What each state may be answered with: nothing passes while the monitor knows nothing."""


@dataclass(frozen=True)
class ResponseTable:
    """The reaction to each state; what could let an unwatched robot go on is refused.

    Attributes:
        nominal: every score is below its threshold.
        caution: one of the rule's scores is over.
        alarm: the rule holds.
        stale: decisions or other inputs have ceased to come.
        most_replans: for how many decisions of an alarm the policy may re-plan before it is
            halted.
    """

    nominal: Reaction = Reaction(DEFAULTS.nominal)
    caution: Reaction = Reaction(DEFAULTS.caution)
    alarm: Reaction = Reaction(DEFAULTS.alarm)
    stale: Reaction = Reaction(DEFAULTS.stale)
    most_replans: int = DEFAULTS.most_replans

    def __post_init__(self) -> None:
        if self.most_replans < 1:
            raise UsageError(
                f"re-planning for {self.most_replans} decisions is none: choose 1 or more, or "
                "another response to ALARM"
            )
        for state, allowed in ALLOWED.items():
            if getattr(self, state) not in allowed:
                raise UsageError(_refusal(state, getattr(self, state).value))

    @classmethod
    def from_names(
        cls, words: Mapping[str, str], *, most_replans: int = DEFAULTS.most_replans
    ) -> ResponseTable:
        """The table that parameters spell out, by the names of the states in lower case.

        Raises:
            UsageError: a word is no reaction, or none that the state may be answered with.
        """
        known = {reaction.value: reaction for reaction in Reaction}
        for state, word in words.items():
            if word not in known:
                raise UsageError(_refusal(state, word))
        rows = {state: known[word] for state, word in words.items()}
        return cls(**rows, most_replans=most_replans)


def _refusal(state: str, word: str) -> str:
    allowed = ", ".join(reaction.value for reaction in ALLOWED[state])
    return f"the response to {state.upper()} cannot be '{word}': choose one of {allowed}"
