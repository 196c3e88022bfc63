# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the response table and the counts change in the alarm, and what they cannot change."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.monitoring.alarm import Alarm, AlarmState
from failure_monitor.monitoring.response.table import ALLOWED, Reaction, ResponseTable

MAX_AGE = 1.0
TABLES = st.builds(
    ResponseTable,
    **{state: st.sampled_from(allowed) for state, allowed in ALLOWED.items()},
    max_replans=st.integers(1, 4),
)
LEVELS = st.floats(0.0, 2.0) | st.just(math.nan)


def verdict(level: float, *, score: float | None = None) -> Verdict:
    value = level if score is None else score
    scores = (ScoreVerdict("rnd_oe", value=value, windowed=value, threshold=1.0),)
    return Verdict(0, 0, scores, "mean", level)


CAUTION = verdict(0.5, score=1.5)


def alarm_with(table: ResponseTable | None = None, **counts: int) -> Alarm:
    alarm = Alarm(max_decision_age=MAX_AGE, table=table, **counts)
    alarm.set_slowed(True)
    alarm.start_rollout()
    return alarm


def states(alarm: Alarm, levels: list[float]) -> list[tuple[AlarmState, bool, bool]]:
    """State, permit and halt after each of some decisions."""
    found = []
    for number, level in enumerate(levels):
        now = 0.1 * number
        alarm.update(verdict(level), received=now, now=now)
        status = alarm.status(now)
        found.append((status.state, status.permit, status.halted))
    return found


def test_trigger_and_release_count_decisions_in_a_row():
    alarm = alarm_with(ResponseTable(alarm=Reaction.HOLD), trigger=2, release=2)
    found = states(alarm, [2.0, 0.5, 2.0, 2.0, 0.5, 0.5])
    caution, held = (AlarmState.CAUTION, True, False), (AlarmState.ALARM, False, False)
    nominal = (AlarmState.NOMINAL, True, False)
    assert found == [caution, nominal, caution, held, held, nominal]


def test_a_fault_counts_as_a_decision_above_its_threshold():
    alarm = alarm_with(ResponseTable(alarm=Reaction.HALT), trigger=2)
    alarm.fail("broken", 0.0)
    alarm.update(verdict(2.0), received=0.1, now=0.1)
    assert "persists" in alarm.reset(0.1)


def test_a_fault_goes_on_with_an_alarm_that_is_about_to_end():
    alarm = alarm_with(ResponseTable(alarm=Reaction.HALT), release=2)
    for number, level in enumerate([2.0, 0.5]):
        alarm.update(verdict(level), received=0.1 * number, now=0.1 * number)
    alarm.fail("broken", 0.2)
    alarm.update(verdict(0.5), received=0.3, now=0.3)
    assert "persists" in alarm.reset(0.3)
    alarm.update(verdict(0.5), received=0.4, now=0.4)
    assert alarm.reset(0.4) == ""


def test_the_reason_tells_what_the_counts_wait_for():
    alarm = alarm_with(ResponseTable(alarm=Reaction.HOLD), trigger=2, release=3)
    alarm.update(verdict(2.0), received=0.0, now=0.0)
    assert "above the threshold for 1 of 2 decisions in a row" in alarm.status(0.0).reason
    alarm.update(verdict(2.0), received=0.0, now=0.0)
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    assert "below the threshold for 1 of 3 decisions in a row" in alarm.status(0.0).reason


def test_a_halt_can_only_be_reset_when_the_release_count_is_full():
    alarm = alarm_with(release=2)
    states(alarm, [2.0, 0.5])
    assert "persists" in alarm.reset(0.1)
    alarm.update(verdict(0.5), received=0.2, now=0.2)
    assert alarm.reset(0.2) == ""
    alarm.update(verdict(0.5), received=0.3, now=0.3)
    assert alarm.status(0.3).permit


def test_holding_ends_with_its_cause_and_latches_nothing():
    alarm = alarm_with(ResponseTable(alarm=Reaction.HOLD, stale=Reaction.HOLD))
    assert [permit for _, permit, _ in states(alarm, [0.5, 2.0, 0.5])] == [True, False, True]
    assert not alarm.status(9.0).permit
    alarm.update(verdict(0.5), received=9.0, now=9.0)
    assert alarm.status(9.0).permit


def test_replanning_goes_on_for_so_many_decisions_and_then_halts():
    alarm = alarm_with(ResponseTable(alarm=Reaction.REPLAN, max_replans=2))
    found = states(alarm, [2.0, 2.0, 2.0, 0.5])
    assert [permit for _, permit, _ in found] == [True, True, False, False]
    assert [halted for _, _, halted in found] == [False, False, True, True]


def test_without_anything_that_slows_the_robot_an_alarm_halts_instead_of_replanning():
    alarm = alarm_with(ResponseTable(alarm=Reaction.REPLAN))
    alarm.set_slowed(False)
    assert states(alarm, [0.5, 2.0])[-1] == (AlarmState.ALARM, False, True)
    assert "nothing subscribes to ~/speed_scale" in alarm.status(0.1).reason


def test_replanning_that_helps_goes_on_and_counts_anew():
    alarm = alarm_with(ResponseTable(alarm=Reaction.REPLAN, max_replans=2))
    found = states(alarm, [2.0, 2.0, 0.5, 2.0, 2.0, 0.5])
    assert all(permit for _, permit, _ in found)


def test_replanning_is_for_verdicts_and_for_inputs_that_are_fine():
    alarm = alarm_with(ResponseTable(alarm=Reaction.REPLAN))
    alarm.update(verdict(2.0), received=0.0, now=0.0)
    assert alarm.status(0.0).permit
    alarm.set_input_problems(["joint states are late"])
    status = alarm.status(0.0)
    assert (status.state, status.permit, status.halted) == (AlarmState.STALE, False, True)


@pytest.mark.parametrize(
    ("reaction", "permit", "halted"),
    [
        (Reaction.GO, True, False),
        (Reaction.SLOW, True, False),
        (Reaction.REPLAN, True, False),
        (Reaction.HOLD, False, False),
        (Reaction.HALT, False, True),
    ],
)
def test_caution_is_answered_as_the_table_says(reaction, permit, halted):
    alarm = alarm_with(ResponseTable(caution=reaction))
    alarm.update(CAUTION, received=0.0, now=0.0)
    status = alarm.status(0.0)
    assert (status.state, status.permit, status.halted) == (AlarmState.CAUTION, permit, halted)
    assert status.reaction == reaction


@given(TABLES, st.integers(1, 5), st.integers(1, 5))
def test_what_could_not_be_judged_halts_at_once_whatever_table_and_counts(table, trigger, release):
    for fault in ("a NaN in the chunks", "a level that is NaN"):
        alarm = alarm_with(table, trigger=trigger, release=release)
        alarm.update(verdict(0.5), received=0.0, now=0.0)
        if fault == "a level that is NaN":
            alarm.update(verdict(math.nan, score=0.5), received=0.1, now=0.1)
        else:
            alarm.fail(fault, now=0.1)
        status = alarm.status(0.1)
        assert (status.state, status.permit, status.halted) == (AlarmState.ALARM, False, True)


@given(TABLES, st.integers(1, 5), st.integers(1, 5))
def test_no_table_and_no_count_delays_what_silence_withdraws(table, trigger, release):
    alarm = alarm_with(table, trigger=trigger, release=release)
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    assert alarm.status(MAX_AGE).permit
    status = alarm.status(MAX_AGE + 0.001)
    assert not status.permit
    assert status.halted == (table.stale == Reaction.HALT)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["hear", "fail", "doubt", "trust", "start", "end", "enable", "disable"]),
        LEVELS,
        st.floats(0.0, 1.5),
    ),
    max_size=30,
)


@given(TABLES, st.integers(1, 3), st.integers(1, 3), EVENTS)
def test_what_is_permitted_was_judged_lately_and_is_allowed_by_the_table(
    table, trigger, release, events
):
    alarm = alarm_with(table, trigger=trigger, release=release)
    now, judged, last, running, enabled, doubted = 0.0, None, 0.0, True, True, False
    for event, level, passed in events:
        now += passed
        if event == "hear":
            alarm.update(verdict(level), received=now, now=now)
            judged, last = now if running and enabled else None, level
        elif event == "fail":
            alarm.fail("broken", now)
            judged = None
        elif event in ("doubt", "trust"):
            doubted = event == "doubt"
            alarm.set_input_problems(["late"] if doubted else [])
        elif event in ("start", "end"):
            running, judged = event == "start", None
            alarm.start_rollout() if running else alarm.end_rollout()
        else:
            enabled, judged = event == "enable", None
            alarm.enable(enabled)
        status = alarm.status(now)
        assert status.permit == status.reaction.permits
        if status.permit:
            assert running
            assert enabled
            assert not doubted
            assert not status.halted
            assert judged is not None
            assert now - judged <= MAX_AGE
            assert not math.isnan(last)
            assert status.reaction == getattr(table, status.state.value.lower())
            if last > 1 and status.state == AlarmState.ALARM:
                assert table.alarm == Reaction.REPLAN
            assert last <= 1 or status.state in (AlarmState.ALARM, AlarmState.CAUTION)


@given(st.lists(st.floats(0.0, 2.0), max_size=20), st.integers(2, 4), st.integers(1, 4))
def test_counts_can_only_make_alarms_rarer_so_the_promise_holds(levels, trigger, release):
    plain = [halted for _, _, halted in states(alarm_with(), levels)]
    counted = [
        halted for _, _, halted in states(alarm_with(trigger=trigger, release=release), levels)
    ]
    assert all(before or not after for before, after in zip(plain, counted, strict=True))
