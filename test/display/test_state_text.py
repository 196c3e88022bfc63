# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is written of a monitor: what it reports, what halted and what is now, or its silence."""

from __future__ import annotations

import pytest

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.display.state_text import NO_WORD, silence_text, state_text
from failure_monitor.monitoring.alarm import Alarm, AlarmState
from failure_monitor.monitoring.alarm_values import AlarmReading, alarm_values, read_alarm_values


def verdict(level: float, index: int = 0) -> Verdict:
    return Verdict(index, 0, (ScoreVerdict("chunk_lag", level, level, 1.0),), "any", level)


def reading(alarm: Alarm, now: float) -> AlarmReading:
    """Return what is read of an alarm's message."""
    status = alarm.status(now)
    values = alarm_values(status, None, decision_age=None)
    return read_alarm_values(status.state, status.reason, values)


@pytest.fixture
def alarm() -> Alarm:
    alarm = Alarm(max_decision_age=1.0)
    alarm.start_rollout()
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    return alarm


def test_without_a_halt_the_reason_stands_alone(alarm):
    text = state_text(reading(alarm, 0.1))
    assert (text.state, text.title, text.permit) == (
        AlarmState.NOMINAL,
        "NOMINAL",
        "commands pass",
    )
    assert text.paragraphs == (alarm.status(0.1).reason,)


def test_halt_says_what_halted_when_and_what_is_now(alarm):
    alarm.update(verdict(1.26, 1), received=0.2, now=0.2)
    alarm.update(verdict(12.1, 2), received=0.9, now=0.9)
    text = state_text(reading(alarm, 1.2))
    assert (text.title, text.permit) == ("ALARM - halted", "no command passes")
    halted, now = text.paragraphs
    assert halted.startswith("halted 1 s ago: ")
    assert "chunk_lag 1.26" in halted
    assert now.startswith("now ALARM: ")
    assert "chunk_lag 12.1" in now


def test_halt_whose_cause_is_gone_says_how_to_go_on_and_what_is_now_once(alarm):
    alarm.update(verdict(1.26, 1), received=0.2, now=0.2)
    alarm.end_rollout("no rollout is running")
    halted, now = state_text(reading(alarm, 200.2)).paragraphs
    assert halted.startswith(
        "halted 3 min ago: the cause is gone: call ~/reset to go on; it was: "
    )
    assert now == "now STALE: no rollout is running"
    assert "no rollout" not in halted


def test_halt_of_an_earlier_monitor_has_no_time(alarm):
    alarm.restore_halt("a mark was found")
    halted, _ = state_text(reading(alarm, 0.1)).paragraphs
    assert halted.startswith("halted: ")
    assert "a mark was found" in halted


@pytest.mark.law(11)
def test_silent_monitor_is_neither_well_nor_permits_anything():
    text = silence_text("left/failure_monitor", 3.2)
    assert (text.state, text.title, text.permit) == (AlarmState.STALE, NO_WORD, "")
    assert text.paragraphs[0].startswith("no message on 'left/failure_monitor/alarm' for 3 s: ")


@pytest.mark.law(11)
def test_monitor_that_never_spoke_is_named_with_what_to_do():
    [why] = silence_text("failure_monitor", None).paragraphs
    assert why == (
        "no message on 'failure_monitor/alarm' so far: start the monitor, or set 'monitor'"
    )
