# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A plan that is too old is not executed, however it came to be old and whatever clocks say."""

import math

import pytest

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.monitoring.alarm import Alarm, AlarmState
from failure_monitor.monitoring.plan_age import ArrivalClock, PlanAge

pytestmark = pytest.mark.law(7)

LIMIT = 1.5
SECOND = 1_000_000_000


def verdict(ratio: float = 0.5) -> Verdict:
    score = ScoreVerdict("rnd_oe", value=ratio, windowed=ratio, threshold=1.0)
    return Verdict(0, 0, (score,), "all", ratio)


@pytest.fixture
def alarm() -> Alarm:
    alarm = Alarm(max_decision_age=10.0)
    alarm.max_plan_age = LIMIT
    alarm.start_rollout()
    return alarm


def test_a_plan_grows_old_while_nothing_comes(alarm):
    alarm.update(verdict(), received=0.0, now=0.0)
    assert alarm.status(LIMIT).permit
    status = alarm.status(LIMIT + 0.1)
    assert (status.state, status.permit, status.halted) == (AlarmState.STALE, False, True)
    assert "the plan that is executed is 1.6 s old, at most 1.5 s are allowed" in status.reason
    assert "max_plan_age" in status.reason
    assert "no newer decision has come" in status.reason


def test_decisions_that_come_on_time_and_are_on_old_observations_halt(alarm):
    for step in range(10):
        now = 0.1 * step
        alarm.update(verdict(), received=now, now=now, age_on_arrival=0.3 * step)
        assert alarm.status(now).permit == (0.3 * step <= LIMIT)
    assert "the policy, its server or the network answers late" in alarm.status(now).reason
    assert alarm.reset(now)


def test_a_young_plan_after_an_old_one_lets_a_reset_go_on(alarm):
    alarm.update(verdict(), received=0.0, now=0.0)
    alarm.update(verdict(), received=0.1, now=0.1, age_on_arrival=3.0)
    # A burst of answers that waited: each is younger, the last is young enough.
    for now, age in ((0.2, 2.0), (0.3, 1.6)):
        alarm.update(verdict(), received=now, now=now, age_on_arrival=age)
        assert "the cause of the halt persists: the plan that is executed" in alarm.reset(now)
    alarm.update(verdict(), received=0.4, now=0.4, age_on_arrival=0.1)
    assert not alarm.status(0.4).permit
    assert "the cause is gone" in alarm.status(0.4).reason
    assert not alarm.reset(0.4)
    alarm.update(verdict(), received=0.5, now=0.5, age_on_arrival=0.1)
    assert alarm.status(0.5).permit


def test_an_old_first_plan_permits_nothing_and_does_not_latch(alarm):
    alarm.update(verdict(), received=0.0, now=0.0, age_on_arrival=2.0)
    status = alarm.status(0.0)
    assert (status.state, status.permit, status.halted) == (AlarmState.STALE, False, False)
    alarm.update(verdict(), received=0.1, now=0.1, age_on_arrival=0.1)
    assert alarm.status(0.1).permit


def test_an_alarm_is_an_alarm_however_old_its_plan_is(alarm):
    alarm.update(verdict(2.0), received=0.0, now=0.0, age_on_arrival=9.0)
    assert alarm.status(0.0).state == AlarmState.ALARM


def test_without_a_bound_the_age_of_the_decision_alone_counts(alarm):
    alarm.max_plan_age = None
    alarm.update(verdict(), received=0.0, now=0.0, age_on_arrival=3600.0)
    assert alarm.status(9.9).permit
    assert not alarm.status(10.1).permit


def test_a_clock_that_is_ahead_makes_no_plan_younger_than_its_decision(alarm):
    alarm.update(verdict(), received=0.0, now=0.0, age_on_arrival=-3600.0)
    assert alarm.plan_age(1.0).seconds == 1.0
    assert not alarm.status(LIMIT + 0.1).permit


def test_clocks_an_hour_apart_are_named(alarm):
    alarm.update(verdict(), received=0.0, now=0.0, age_on_arrival=3600.0)
    status = alarm.status(0.0)
    assert not status.permit
    assert "3.6e+03 s old" in status.reason
    assert "synchronise the clocks of the machines, set use_sim_time alike" in status.reason


def test_an_age_that_nobody_knows_permits_nothing(alarm):
    alarm.update(verdict(), received=0.0, now=0.0, age_on_arrival=math.nan)
    assert not alarm.status(0.0).permit


def test_the_age_is_known_while_there_is_a_verdict(alarm):
    assert alarm.plan_age(0.0) is None
    alarm.update(verdict(), received=1.0, now=1.2, age_on_arrival=0.5)
    assert alarm.plan_age(2.0) == PlanAge(on_arrival=0.5, since=1.0)
    alarm.fail("NaN", now=2.0)
    assert alarm.plan_age(2.0) is None


def test_the_age_on_arrival_is_that_of_the_stamp_by_this_clock():
    assert ArrivalClock().age(5 * SECOND, 7 * SECOND, now=1.0) == pytest.approx(2.0)
    assert ArrivalClock().age(7 * SECOND, 5 * SECOND, now=1.0) == pytest.approx(-2.0)
    assert math.isnan(ArrivalClock().age(5 * SECOND, 0, now=1.0))


@pytest.fixture
def jumped() -> ArrivalClock:
    """Return a clock of which 100 s is read at 1.0 s of the steady one; then it jumps ahead."""
    clock = ArrivalClock()
    for second in (0, 1):
        assert clock.age((99 + second) * SECOND, (99 + second) * SECOND, now=second) == 0
    return clock


def test_a_clock_that_jumps_ahead_makes_no_plan_older(jumped):
    # What was on its way came late, and what was made before the last one even later.
    assert jumped.age(round(100.05 * SECOND), 3700 * SECOND, now=1.1) == pytest.approx(0.1)
    assert jumped.age(round(99.8 * SECOND), round(3700.1 * SECOND), now=1.2) == pytest.approx(0.4)
    assert jumped.age(round(3700.1 * SECOND), round(3700.2 * SECOND), 1.3) == pytest.approx(0.1)


def test_a_plan_that_was_old_before_the_clock_jumped_is_old(jumped):
    assert jumped.age(95 * SECOND, 3700 * SECOND, now=1.1) == pytest.approx(5.1)


def test_stamps_of_a_clock_that_does_not_jump_along_are_soon_too_old(jumped):
    ages = [
        jumped.age((1000 + step) * SECOND // 10, (37000 + step) * SECOND // 10, now=1 + 0.1 * step)
        for step in range(1, 30)
    ]
    assert ages[-1] == pytest.approx(2.9)
    assert ages == sorted(ages)
