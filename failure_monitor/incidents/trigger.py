# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""When an incident begins: with an alarm that is new, not with one that goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from failure_monitor.monitoring.alarm import AlarmState


@dataclass(frozen=True)
class Incident:
    """Why something is recorded.

    Attributes:
        cause: the alarm's state, or `REQUEST` where somebody asked.
        reason: in words.
        source: the topic of the alarm, or the service.
        nanoseconds: when, by the clock of the bag.
        values: what the alarm rests on.
    """

    cause: str
    reason: str
    source: str
    nanoseconds: int
    values: Mapping[str, str] = field(default_factory=dict)


class NewAlarms:
    """Tells alarms that begin from those that were there before, of any number of monitors."""

    def __init__(self, states: Collection[AlarmState]) -> None:
        """Before the first word of any monitor.

        Args:
            states: those that make an incident.
        """
        self.heard: dict[str, AlarmState] = {}
        """The last state of every monitor that said one."""
        self._states = frozenset(states)

    def hear(self, monitor: str, state: AlarmState) -> bool:
        """Take the state of a monitor; whether an incident begins with it.

        The first state of a monitor begins none: what led to it was not heard.
        """
        before = self.heard.get(monitor)
        self.heard[monitor] = state
        return before is not None and state != before and state in self._states
