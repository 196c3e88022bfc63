# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Decides when an incident starts: with a new alarm, not with one that continues."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from failure_monitor.monitoring.alarm import AlarmState

INTERVENTION = "INTERVENTION"
"""The cause of an incident where a human took over."""


@dataclass(frozen=True)
class Incident:
    """The reason for a recording.

    Attributes:
        cause: The state of the alarm, `INTERVENTION` where a human took over, or `REQUEST` for a
            call of the service.
        reason: The reason as text.
        source: The topic of the alarm, or the service.
        nanoseconds: The time, by the clock of the bag.
        values: The values on which the alarm is based.
    """

    cause: str
    reason: str
    source: str
    nanoseconds: int
    values: Mapping[str, str] = field(default_factory=dict)


class NewAlarms:
    """Detects new alarms of any number of monitors."""

    def __init__(self, states: Collection[AlarmState]) -> None:
        """Start without any state of a monitor.

        Args:
            states: The states that are an incident.
        """
        self.states: dict[str, AlarmState] = {}
        """The last state of every monitor that published one."""
        self._states = frozenset(states)
        self._in_human_hands: set[str] = set()

    def update(self, monitor: str, state: AlarmState) -> bool:
        """Add the state of a monitor, and return whether an incident starts with it.

        The first state of a monitor starts none, since what preceded it is unknown.
        """
        before = self.states.get(monitor)
        self.states[monitor] = state
        return before is not None and state != before and state in self._states

    def update_intervention(self, monitor: str, values: Mapping[str, str]) -> bool:
        """Add the values of a monitor's alarm, and return whether a human takes over with them.

        As with alarms, one who was there when the monitor was first heard of starts none: call it
        before `update`.
        """
        is_first, was = monitor not in self.states, monitor in self._in_human_hands
        if values.get("intervention") == values.get("halted") == "true":
            self._in_human_hands.add(monitor)
            return not was and not is_first
        self._in_human_hands.discard(monitor)
        return False
