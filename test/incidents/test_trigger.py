# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An incident begins with an alarm that is new."""

import pytest

from failure_monitor.incidents.trigger import NewAlarms
from failure_monitor.monitoring.alarm import AlarmState


def incidents(states: str, *, of: str = "A") -> str:
    """Where incidents begin in a course of states, each by its first letter, S for STALE."""
    by_letter = {state.value[0]: state for state in AlarmState}
    alarms = NewAlarms([by_letter[letter] for letter in of])
    return "".join("^" if alarms.update("monitor", by_letter[state]) else "." for state in states)


@pytest.mark.parametrize(
    ("states", "of", "expected"),
    [
        pytest.param("NNCAAA", "A", "...^..", id="alarm"),
        pytest.param("NAANA", "A", ".^..^", id="alarm again"),
        pytest.param("AAA", "A", "...", id="alarm from before"),
        pytest.param("NSSN", "A", "....", id="stale is none"),
        pytest.param("SNSSN", "SA", "..^..", id="stale, if asked for"),
        pytest.param("NSA", "SA", ".^^", id="worse than stale"),
    ],
)
def test_incident_begins_with_a_new_alarm(states, of, expected):
    assert incidents(states, of=of) == expected


def test_monitors_are_told_apart():
    alarms = NewAlarms([AlarmState.ALARM])
    assert not alarms.update("/left/alarm", AlarmState.NOMINAL)
    assert not alarms.update("/right/alarm", AlarmState.ALARM)
    assert alarms.update("/left/alarm", AlarmState.ALARM)


def test_a_human_who_takes_over_is_an_incident_once():
    alarms = NewAlarms([AlarmState.ALARM])
    hands = {"intervention": "true", "halted": "true"}
    free = {"intervention": "false", "halted": "false"}
    between_rollouts = {"intervention": "true", "halted": "false"}
    found = []
    for values in (free, between_rollouts, hands, hands, free, hands):
        found.append(alarms.update_intervention("/alarm", values))
        alarms.update("/alarm", AlarmState.STALE)
    assert found == [False, False, True, False, False, True]
    other = NewAlarms([AlarmState.ALARM])
    assert not other.update_intervention("/alarm", hands)
    assert not NewAlarms([]).update_intervention("/of before there were interventions", {})
