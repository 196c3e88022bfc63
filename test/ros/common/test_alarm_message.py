# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The alarm message says what is known, and what is not, and is read as it was written."""

import math

import pytest

pytest.importorskip("diagnostic_msgs")

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.monitoring.alarm import Alarm, AlarmState, AlarmStatus
from failure_monitor.ros.common.alarm_message import (
    LEVELS,
    alarm_message,
    has_known_level,
    read_alarm,
)


def test_a_score_that_is_undefined_is_called_so_and_has_no_ratio():
    scores = (
        ScoreVerdict("knn", value=1.0, windowed=1.0, threshold=2.0),
        ScoreVerdict("stac", value=math.nan, windowed=math.nan, threshold=0.5),
    )
    verdict = Verdict(index=0, stamp=0, scores=scores, rule="any", level=0.5)
    alarm = Alarm(max_decision_age=1.0)
    alarm.start_rollout()
    alarm.update(verdict, received=0.0, now=0.0)
    message = alarm_message(
        alarm.status(0.0), verdict, name="monitor", hardware_id="", decision_age=0.0
    )
    values = {value.key: value.value for value in message.values}
    assert values["knn.ratio"] == "0.5000"
    assert values["stac"] == "undefined"
    assert "stac.ratio" not in values
    assert "stac undefined: too few decisions so far" in message.message
    assert not any("nan" in value for value in values.values())


STAMP = 1_795_847_735_689_444_137
"""Nanoseconds that seconds in floating point do not hold."""


def test_the_stamp_is_that_of_the_decision_to_the_nanosecond():
    for stamp, text in ((STAMP, "1795847735.689444137"), (7, "0.000000007")):
        verdict = Verdict(index=0, stamp=stamp, scores=(), rule="any", level=0.5)
        status = AlarmStatus(AlarmState.NOMINAL, "", permit=True)
        message = alarm_message(status, verdict, name="m", hardware_id="", decision_age=0.0)
        assert {value.key: value.value for value in message.values}["stamp"] == text
        assert read_alarm(message).stamp == stamp


@pytest.mark.parametrize("state", AlarmState)
def test_what_was_written_is_read(state):
    scores = (
        ScoreVerdict("knn", value=1.0, windowed=1.5, threshold=2.0),
        ScoreVerdict("stac", value=math.nan, windowed=math.nan, threshold=0.5),
    )
    verdict = Verdict(index=7, stamp=STAMP, scores=scores, rule="any", level=0.75)
    status = AlarmStatus(state, "a reason", permit=True, halted=True)
    message = alarm_message(status, verdict, name="m", hardware_id="", decision_age=0.125)
    assert message.level == LEVELS[state]
    assert has_known_level(message)
    reading = read_alarm(message)
    assert (reading.state, reading.reason) == (state, "a reason")
    assert (reading.permit, reading.halted) == (True, True)
    assert (reading.decision, reading.stamp, reading.decision_age) == (7, STAMP, 0.125)
    assert (reading.rule, reading.level) == ("any", 0.75)
    knn, stac = reading.scores
    assert (knn.name, knn.value, knn.threshold, knn.ratio) == ("knn", 1.5, 2.0, 0.75)
    assert (stac.name, stac.threshold) == ("stac", 0.5)
    assert math.isnan(stac.value)
    assert math.isnan(stac.ratio)


def test_message_of_a_stranger_permits_nothing_and_is_read_without_an_error():
    reading = read_alarm(
        DiagnosticStatus(
            level=b"\x2a",
            values=[KeyValue(key=key, value="many") for key in ("permit", "decision", "level")],
        )
    )
    assert reading.state == AlarmState.STALE
    assert not reading.permit
    assert reading.decision is None
    assert not has_known_level(DiagnosticStatus(level=b"\x2a"))
    endless = [KeyValue(key=key, value="9" * 5000) for key in ("decision", "stamp")]
    assert read_alarm(DiagnosticStatus(values=endless)).decision is None
