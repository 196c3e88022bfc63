# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the monitor's response to an alarm. None can be set while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.parameters.parameter import UNLIMITED, group, parameter

FIRST = "first"
"""Name of the sample that an unsteered policy executes."""


@dataclass(frozen=True)
class ReactionParameters:
    """The reaction to each state of the alarm, and how long a state must last."""

    nominal: str = parameter(
        "go",
        "Reaction to NOMINAL: every score is below its threshold.",
        choices=("go", "slow"),
        heading="What is done in which state of the alarm; docs/response.md explains them. The "
        "reactions are:\n"
        "- go: commands pass at full speed.\n"
        "- slow: commands pass, and ~/speed_scale falls as the alarm comes nearer.\n"
        "- replan: commands pass slowly, one action of each chunk at a time, for at most "
        "most_replans decisions; then as for halt.\n"
        "- hold: no command passes until the state is better.\n"
        "- halt: no command passes until ~/reset, and what halt_menu names is stopped.\n"
        "What could not be scored always halts.",
    )
    caution: str = parameter(
        "go",
        "Reaction to CAUTION: one of the rule's scores is above its threshold.",
        choices=("go", "slow", "replan", "hold", "halt"),
    )
    alarm: str = parameter(
        "halt",
        "Reaction to ALARM: the rule holds.",
        choices=("replan", "hold", "halt"),
    )
    stale: str = parameter(
        "halt",
        "Reaction to STALE: decisions or other inputs have ceased to come.",
        choices=("hold", "halt"),
    )
    trigger_count: int = parameter(
        1,
        "Number of decisions in a row for which the rule must hold for an ALARM. More than 1 "
        "makes alarms rarer and later, true ones too.",
        bounds=(1, UNLIMITED),
    )
    release_count: int = parameter(
        1,
        "Number of decisions in a row for which the rule must not hold before an ALARM ends.",
        bounds=(1, UNLIMITED),
    )
    most_replans: int = parameter(
        5,
        "For the reaction replan: number of decisions after which an ALARM halts.",
        bounds=(1, UNLIMITED),
    )


@dataclass(frozen=True)
class SpeedParameters:
    """The speed scale for the reaction slow."""

    slow_from: float = parameter(
        0.0,
        "For the reaction slow: level of the rule at which the robot starts to slow down; the "
        "alarm is at level 1.",
        bounds=(0.0, 0.99),
    )
    slowest: float = parameter(
        0.25, "Speed scale at the alarm, as a part of full speed.", bounds=(0.0, 1.0)
    )
    rise: float = parameter(
        5.0, "Largest increase of the speed scale per second.", bounds=(0.01, 1000.0)
    )


def _reactions(reactions: ReactionParameters) -> set[str]:
    return {reactions.nominal, reactions.caution, reactions.alarm, reactions.stale}


@dataclass(frozen=True)
class ResponseParameters:
    """What is done about an alarm, but for the stop menu."""

    reactions: ReactionParameters = group(ReactionParameters, "response.")
    speed: SpeedParameters = group(SpeedParameters, "speed.")
    chosen_chunk: str = parameter(
        FIRST,
        "What chooses the sampled chunk that ~/chosen_chunk carries.",
        choices={
            FIRST: "the first sample, for which nothing is published",
            "medoid": "the sample nearest to all others",
            "pseudo_count": "the least novel one, if the bundle was calibrated with --choose-by",
            "retrieval": "the one most like those in similar situations, if the bundle was "
            "calibrated with --choose-by",
        },
    )

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by their full names."""
        used = _reactions(self.reactions)
        reasons = {}
        if "replan" not in used:
            reasons["response.most_replans"] = "no state has the reaction replan"
        if "slow" not in used:
            reasons["speed.slow_from"] = "no state has the reaction slow"
        if not used & {"slow", "replan"}:
            reasons["speed.slowest"] = "no state has the reaction slow or replan"
        return reasons
