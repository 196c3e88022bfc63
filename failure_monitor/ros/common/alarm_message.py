# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The message on `~/alarm`: how it is written and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from diagnostic_msgs.msg import DiagnosticStatus

from failure_monitor.decision import Verdict
from failure_monitor.monitoring.alarm import AlarmState, AlarmStatus
from failure_monitor.monitoring.alarm_values import AlarmReading, alarm_values, read_alarm_values
from failure_monitor.ros.common.key_values import key_values, read_key_values

ALARM_TYPE = "diagnostic_msgs/msg/DiagnosticStatus"
"""The type of the topic."""

LEVELS: Mapping[AlarmState, bytes] = {
    AlarmState.NOMINAL: DiagnosticStatus.OK,
    AlarmState.CAUTION: DiagnosticStatus.WARN,
    AlarmState.ALARM: DiagnosticStatus.ERROR,
    AlarmState.STALE: DiagnosticStatus.STALE,
}
"""The level that stands for each state."""

_STATES = {level: state for state, level in LEVELS.items()}


def alarm_message(
    status: AlarmStatus,
    verdict: Verdict | None,
    *,
    name: str,
    hardware_id: str,
    decision_age: float | None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> DiagnosticStatus:
    """Return the message: level and text are state and reason, the values what they rest on.

    Args:
        status: of the alarm.
        verdict: the last one, if there is any in this rollout.
        name: the node's name.
        hardware_id: the robot's or the policy's.
        decision_age: seconds since the last scored decision was received.
        more: further values as text by name, such as what was done about the state.
    """
    return DiagnosticStatus(
        level=LEVELS[status.state],
        name=f"{name}: alarm",
        message=status.reason,
        hardware_id=hardware_id,
        values=key_values(alarm_values(status, verdict, decision_age=decision_age, more=more)),
    )


def read_alarm(message: DiagnosticStatus) -> AlarmReading:
    """Read a message of any publisher; a level that stands for no state is `STALE`."""
    state = _STATES.get(message.level, AlarmState.STALE)
    return read_alarm_values(state, message.message, read_key_values(message.values))


def has_known_level(message: DiagnosticStatus) -> bool:
    """Return whether the message's level stands for a state."""
    return message.level in _STATES
