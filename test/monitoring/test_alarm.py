# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The alarm fails closed, latches, and says why."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.monitoring.alarm import Alarm, AlarmState

MAX_AGE = 1.0


def verdict(ratio: float, *, rule: str = "all", level: float | None = None) -> Verdict:
    score = ScoreVerdict("rnd_oe", value=ratio, windowed=ratio, threshold=1.0)
    return Verdict(0, 0, (score,), rule, ratio if level is None else level)


@pytest.fixture
def alarm() -> Alarm:
    alarm = Alarm(max_decision_age=MAX_AGE)
    alarm.start_rollout()
    return alarm


def test_nothing_is_permitted_before_the_first_decision(alarm):
    status = alarm.status(0.0)
    assert (status.state, status.permit) == (AlarmState.STALE, False)
    assert "no decision" in status.reason


def test_nothing_is_permitted_before_a_rollout():
    status = Alarm(max_decision_age=MAX_AGE).status(0.0)
    assert (status.state, status.permit, status.halted) == (AlarmState.STALE, False, False)


def test_a_young_verdict_below_its_thresholds_permits(alarm):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    status = alarm.status(0.5)
    assert (status.state, status.permit) == (AlarmState.NOMINAL, True)


def test_one_score_over_is_caution_and_still_permits(alarm):
    alarm.update(verdict(1.2, level=0.8), received=0.0, now=0.0)
    status = alarm.status(0.0)
    assert (status.state, status.permit) == (AlarmState.CAUTION, True)


def test_the_rule_holding_is_an_alarm(alarm):
    alarm.update(verdict(1.2), received=0.0, now=0.0)
    status = alarm.status(0.0)
    assert (status.state, status.permit, status.halted) == (AlarmState.ALARM, False, True)
    assert "rnd_oe 1.20 of its threshold" in status.reason


def test_a_verdict_without_a_defined_score_permits_nothing_and_does_not_latch(alarm):
    undefined = Verdict(0, 0, (ScoreVerdict("stac", math.nan, math.nan, 1.0),), "all", 0.0)
    alarm.update(undefined, received=0.0, now=0.0)
    status = alarm.status(0.0)
    assert (status.state, status.permit) == (AlarmState.STALE, False)
    assert "stac undefined: too few decisions so far" in status.reason
    alarm.update(verdict(0.5), received=0.1, now=0.1)
    assert alarm.status(0.1).permit


def test_a_level_that_is_nan_is_an_alarm(alarm):
    alarm.update(verdict(0.5, level=math.nan), received=0.0, now=0.0)
    assert alarm.status(0.0).state == AlarmState.ALARM


def test_an_old_verdict_is_stale_and_halts(alarm):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    assert alarm.status(MAX_AGE).permit
    status = alarm.status(MAX_AGE + 0.01)
    assert (status.state, status.permit, status.halted) == (AlarmState.STALE, False, True)


def test_a_verdict_that_took_too_long_permits_nothing(alarm):
    alarm.update(verdict(0.5), received=0.0, now=2 * MAX_AGE)
    assert alarm.status(2 * MAX_AGE).state == AlarmState.STALE


def test_a_halt_stays_when_later_verdicts_are_well(alarm):
    alarm.update(verdict(1.2), received=0.0, now=0.0)
    alarm.update(verdict(0.5), received=0.1, now=0.1)
    status = alarm.status(0.1)
    assert (status.state, status.permit) == (AlarmState.ALARM, False)
    # What is to be done comes first: displays cut a long reason at its end.
    assert status.reason.startswith("the cause is gone: call ~/reset to go on; it was: rnd_oe")


def test_a_reset_is_refused_while_the_cause_persists(alarm):
    alarm.update(verdict(1.2), received=0.0, now=0.0)
    assert "the cause of the halt persists: rnd_oe" in alarm.reset(0.1)
    assert not alarm.status(0.1).permit


@pytest.mark.law(8)
def test_after_a_reset_the_next_decision_permits_and_nothing_before_it(alarm):
    alarm.update(verdict(1.2), received=0.0, now=0.0)
    alarm.update(verdict(0.5), received=0.1, now=0.1)
    assert alarm.reset(0.2) == ""
    assert (alarm.status(0.2).permit, alarm.status(0.2).halted) == (False, False)
    assert "no decision since the reset" in alarm.status(0.2).reason
    alarm.update(verdict(0.5), received=0.3, now=0.3)
    assert alarm.status(0.3).permit


@pytest.mark.law(8)
def test_a_reset_without_a_halt_changes_nothing(alarm):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    assert alarm.reset(0.1) == ""
    assert alarm.status(0.1).permit


def test_a_reset_is_refused_while_decisions_do_not_come(alarm):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    assert "older than" in alarm.reset(5.0)
    alarm.update(verdict(0.5), received=6.0, now=6.0)
    assert not alarm.status(6.0).permit
    assert alarm.reset(6.0) == ""
    alarm.update(verdict(0.5), received=6.1, now=6.1)
    assert alarm.status(6.1).permit


def test_a_decision_that_cannot_be_judged_is_an_alarm(alarm):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    alarm.fail("3 of the embedding's values are NaN", now=0.1)
    status = alarm.status(0.1)
    assert (status.state, status.permit) == (AlarmState.ALARM, False)
    assert "NaN" in status.reason


def test_what_is_amiss_with_the_inputs_is_told_beside_what_could_not_be_judged(alarm):
    alarm.set_input_problems(["no time has come on '/clock'"])
    alarm.fail("the header has no stamp", now=0.0)
    status = alarm.status(0.0)
    assert status.state == AlarmState.ALARM
    assert status.reason == "the header has no stamp; no time has come on '/clock'"


def test_an_alarm_outweighs_a_stale_halt(alarm):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    assert alarm.status(5.0).state == AlarmState.STALE
    alarm.update(verdict(1.5), received=5.1, now=5.1)
    assert alarm.status(5.1).state == AlarmState.ALARM


def test_a_new_rollout_does_not_leave_a_halt(alarm):
    alarm.update(verdict(1.2), received=0.0, now=0.0)
    alarm.start_rollout()
    alarm.update(verdict(0.5), received=0.1, now=0.1)
    assert not alarm.status(0.1).permit


def test_a_halt_can_be_reset_between_rollouts(alarm):
    alarm.update(verdict(1.2), received=0.0, now=0.0)
    alarm.end_rollout()
    assert alarm.reset(0.1) == ""
    alarm.start_rollout()
    alarm.update(verdict(0.5), received=0.2, now=0.2)
    assert alarm.status(0.2).permit


def test_the_end_of_a_rollout_stops_without_a_halt(alarm):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    alarm.end_rollout()
    status = alarm.status(9.0)
    assert (status.permit, status.halted) == (False, False)


def test_disabling_permits_nothing_and_enabling_waits_for_a_verdict(alarm):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    alarm.enable(False)
    assert "disabled" in alarm.status(0.0).reason
    alarm.update(verdict(0.5), received=0.1, now=0.1)
    assert not alarm.status(0.1).permit
    alarm.enable(True)
    assert not alarm.status(0.1).permit
    alarm.update(verdict(0.5), received=0.2, now=0.2)
    assert alarm.status(0.2).permit


@pytest.mark.parametrize("pause", [1.01, 9.0])
def test_a_gap_before_a_verdict_halts_even_if_the_status_was_not_read_meanwhile(alarm, pause):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    alarm.update(verdict(0.5), received=pause, now=pause)
    status = alarm.status(pause)
    assert (status.state, status.permit, status.halted) == (AlarmState.STALE, False, True)
    assert alarm.reset(pause) == ""
    alarm.update(verdict(0.5), received=pause + 0.1, now=pause + 0.1)
    assert alarm.status(pause + 0.1).permit


def test_verdicts_without_a_gap_do_not_halt(alarm):
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    alarm.update(verdict(0.5), received=MAX_AGE, now=MAX_AGE)
    assert alarm.status(MAX_AGE).permit


def test_an_input_that_ceases_halts_and_one_that_never_came_does_not_latch(alarm):
    alarm.set_input_problems(["no joint states have come"])
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    status = alarm.status(0.0)
    assert (status.permit, status.halted) == (False, False)
    alarm.set_input_problems([])
    assert alarm.status(0.1).permit
    alarm.set_input_problems(["no joint states for more than 0.5 s"])
    status = alarm.status(0.2)
    assert (status.state, status.permit, status.halted) == (AlarmState.STALE, False, True)


events = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), st.floats(0, 2)),
        st.tuples(st.just("fail"), st.just(0.0)),
        st.tuples(st.just("wait"), st.floats(0, 3)),
        st.tuples(st.just("reset"), st.just(0.0)),
        st.tuples(st.just("start_rollout"), st.just(0.0)),
        st.tuples(st.just("end_rollout"), st.just(0.0)),
        st.tuples(st.just("disable"), st.just(0.0)),
        st.tuples(st.just("enable"), st.just(0.0)),
    ),
    max_size=30,
)


@given(events)
def test_whatever_happens_a_permit_needs_a_young_verdict_that_is_not_over(happenings):
    alarm, now = Alarm(max_decision_age=MAX_AGE), 0.0
    newest: tuple[float, float] | None = None
    for kind, value in happenings:
        if kind == "hear":
            alarm.update(verdict(value), received=now, now=now)
            newest = (now, value)
        elif kind == "fail":
            alarm.fail("broken", now)
            newest = None
        elif kind == "wait":
            now += value
        elif kind == "reset":
            alarm.reset(now)
        elif kind in ("enable", "disable"):
            alarm.enable(kind == "enable")
            newest = None
        else:
            getattr(alarm, kind)()
            newest = None
        if alarm.status(now).permit:
            assert newest is not None
            assert now - newest[0] <= MAX_AGE
            assert newest[1] <= 1
