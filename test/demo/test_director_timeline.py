# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

import pytest
from testbed.demo_timelines import (
    BEGIN,
    KNOCKED,
    MILLISECOND,
    NOMINAL,
    at,
    detected,
    missed,
    nominal,
    recording,
)

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.demo.timeline import GateChange, ObservedMessages, TimedAlarm, timeline
from failure_monitor.errors import FailureMonitorError
from failure_monitor.monitoring.alarm import Alarm, AlarmState, AlarmStatus
from failure_monitor.ros.common.alarm_message import alarm_message, read_alarm


def written_and_read(status: AlarmStatus, verdict: Verdict | None) -> TimedAlarm:
    message = alarm_message(status, verdict, name="monitor", hardware_id="", decision_age=0.1)
    return TimedAlarm.of(read_alarm(message), 5)


def test_an_alarm_message_is_read_as_the_monitor_writes_it() -> None:
    scores = (ScoreVerdict("rnd_oe", 3.0, 2.5, 2.0), ScoreVerdict("ace", 0.4, 0.5, 1.0))
    verdict = Verdict(
        index=7, stamp=1_700_000_000_123_456_789, scores=scores, rule="any", level=1.25
    )
    status = AlarmStatus(AlarmState.ALARM, verdict.reason, permit=False, halted=True)
    read = written_and_read(status, verdict)
    assert (read.time, read.state, read.permit) == (5, AlarmState.ALARM, False)
    assert (read.decision, read.rule, read.level) == (7, "any", 1.25)
    assert read.stamp == verdict.stamp
    assert [(s.name, s.value, s.threshold, s.ratio) for s in read.scores] == [
        ("rnd_oe", 2.5, 2.0, 1.25),
        ("ace", 0.5, 1.0, 0.5),
    ]


def test_an_alarm_before_the_first_decision_has_no_scores() -> None:
    status = Alarm(max_decision_age=1.0).status(0.0)
    read = written_and_read(status, None)
    assert read.state == AlarmState.STALE
    assert read.decision is None
    assert read.level is None
    assert read.scores == ()


def test_a_timeline_begins_and_ends_with_its_rollout() -> None:
    recorded = recording(duration=2.0)
    recorded.active.insert(0, (BEGIN - 5 * MILLISECOND, False))
    recorded.readings.insert(0, recorded.readings[0].__class__(**vars(recorded.readings[0])))
    recorded.gate.append(GateChange(at(2.1), False))
    cut = timeline(NOMINAL, recorded)
    assert (cut.begin, cut.end) == (BEGIN, at(2.0))
    assert cut.duration == 2.0
    assert all(change.time <= cut.end for change in cut.gate)


def test_a_timeline_does_not_depend_on_the_order_of_reception() -> None:
    recorded, shuffled = recording(alarm_at_decision=4), recording(alarm_at_decision=4)
    shuffle = random.Random(0).shuffle
    for events in vars(shuffled).values():
        shuffle(events)
    assert timeline(KNOCKED, shuffled) == timeline(KNOCKED, recorded)


def test_a_rollout_without_an_alarm_has_neither_closing_nor_chunk() -> None:
    for observed in (nominal(), missed()):
        assert observed.alarm is None
        assert observed.gate_closing is None
        assert observed.alarming_chunk is None
        assert observed.passed_after_alarm == 0


def test_the_alarm_leads_to_the_chunks_that_raised_it() -> None:
    observed = detected()
    assert observed.alarm is not None
    assert observed.alarm.decision == 7
    assert observed.alarming_chunk == observed.alarm.time - 4 * MILLISECOND
    assert observed.gate_closing == observed.alarm.time + MILLISECOND


def test_a_gate_that_closed_before_its_alarm_was_published_closed_for_it() -> None:
    recorded = recording(alarm_at_decision=4)
    alarm = timeline(KNOCKED, recorded).alarm
    assert alarm is not None
    recorded.gate[-1] = GateChange(alarm.time - MILLISECOND, False)
    assert timeline(KNOCKED, recorded).gate_closing == alarm.time - MILLISECOND


def test_commands_that_pass_after_the_alarm_are_counted_even_after_the_end() -> None:
    recorded = recording(duration=2.0, success=False, alarm_at_decision=4)
    recorded.passed += [at(1.0), at(2.05)]
    assert timeline(KNOCKED, recorded).passed_after_alarm == 2


@pytest.mark.parametrize(
    ("field", "word"), [("active", "begin"), ("truths", "outcome"), ("outcomes", "claim")]
)
def test_a_recording_without_a_rollout_is_refused(field: str, word: str) -> None:
    recorded: ObservedMessages = recording()
    setattr(recorded, field, [])
    with pytest.raises(FailureMonitorError, match=f"no message about the {word}"):
        timeline(NOMINAL, recorded)
