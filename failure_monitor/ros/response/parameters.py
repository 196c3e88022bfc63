# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of what the monitor does about an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from rclpy.node import Node

from failure_monitor.errors import UsageError
from failure_monitor.monitoring.response.chosen_chunk import Medoid
from failure_monitor.monitoring.response.speed_scale import SpeedSettings
from failure_monitor.monitoring.response.table import ALLOWED, ResponseTable
from failure_monitor.ros.common.parameters import declare, refuse_undeclared

FIRST = "first"
"""The sample that an unsteered policy executes."""

CHOICES = (FIRST, Medoid.name, "pseudo_count", "retrieval")
"""What may choose the chunk to execute."""


@dataclass(frozen=True)
class ResponseParameters:
    """What is done about an alarm; it cannot be changed while the node runs.

    Attributes:
        table: the reaction to each state.
        trigger_count: decisions in a row on which the rule holds, for an alarm.
        release_count: decisions in a row on which it does not, for the end of one.
        speed: of the speed scale.
        chosen_chunk: one of `CHOICES`.
    """

    table: ResponseTable
    trigger_count: int
    release_count: int
    speed: SpeedSettings
    chosen_chunk: str


def declare_response_parameters(node: Node) -> ResponseParameters:
    """Declare, check and return them.

    Raises:
        UsageError: they make no sense; the message names the parameter.
    """
    fixed = partial(declare, node, read_only=True)
    table = ResponseTable()
    words = {
        state: fixed(
            f"response.{state}",
            getattr(table, state).value,
            f"what is done in {state.upper()}: "
            + ", ".join(reaction.value for reaction in allowed),
        )
        for state, allowed in ALLOWED.items()
    }
    counts = {
        name: fixed(f"response.{name}", default, what)
        for name, default, what in (
            ("trigger_count", 1, "decisions in a row on which the rule holds, for an ALARM"),
            ("release_count", 1, "decisions in a row on which it does not, for the end of one"),
            ("most_replans", table.most_replans, "decisions in ALARM after which 'replan' halts"),
        )
    }
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"the parameter 'response.{name}' is {count}: choose 1 or more")
    speed = SpeedSettings()
    parameters = ResponseParameters(
        table=ResponseTable.from_names(words, most_replans=counts["most_replans"]),
        trigger_count=counts["trigger_count"],
        release_count=counts["release_count"],
        speed=SpeedSettings(
            slow_from=fixed(
                "speed.slow_from",
                speed.slow_from,
                "for 'slow': the level of the rule at which slowing begins; 1 is the alarm",
                bounds=(0.0, 0.99),
            ),
            slowest=fixed(
                "speed.slowest", speed.slowest, "the speed scale at the alarm", bounds=(0.0, 1.0)
            ),
            rise=fixed(
                "speed.rise",
                speed.rise,
                "how fast the speed scale may grow, per second",
                bounds=(0.01, 1000.0),
            ),
        ),
        chosen_chunk=fixed(
            "chosen_chunk",
            FIRST,
            f"what chooses the sample that ~/chosen_chunk carries: {', '.join(CHOICES)}; nothing "
            f"is published for '{FIRST}'",
        ),
    )
    refuse_undeclared(node, "response.", f"there are {', '.join((*words, *counts))}")
    refuse_undeclared(node, "speed.", "there are slow_from, slowest, rise")
    if parameters.chosen_chunk not in CHOICES:
        raise UsageError(
            f"the parameter 'chosen_chunk' is '{parameters.chosen_chunk}', not one of "
            f"{', '.join(CHOICES)}"
        )
    return parameters
