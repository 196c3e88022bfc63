# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A permit and a speed scale run out by themselves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.monitoring.permit import MIN_SPEED_SCALE, PermitLease, SpeedScaleLease
from failure_monitor.monitoring.several_publishers import CONTESTED_MEMORY

LEASE = 0.25  # and the beat: sums of binary fractions are exact
BEAT = 0.0625


def steady(lease: PermitLease, permitted: bool, begin: float, beats: int = 5) -> float:
    """Beats of a monitor that says the same; returns the time of the last."""
    for beat in range(beats):
        lease.update(permitted, begin + beat * BEAT)
    return begin + (beats - 1) * BEAT


@pytest.fixture
def lease() -> PermitLease:
    return PermitLease(LEASE, "monitor/permit")


def test_it_is_closed_before_the_first_permit(lease):
    assert not lease.is_open(0.0)
    assert "no permit has come yet on 'monitor/permit'" in lease.reason(0.0)


def test_a_permit_opens_for_the_lease_and_no_longer(lease):
    now = steady(lease, True, 10.0)
    assert lease.is_open(now)
    assert lease.is_open(now + LEASE - 0.01)
    assert not lease.is_open(now + LEASE)
    assert "no permit on 'monitor/permit' for 0.25 s" in lease.reason(now + LEASE)


def test_a_withdrawal_closes_at_once(lease):
    now = steady(lease, True, 10.0)
    lease.update(False, now + 0.01)
    assert not lease.is_open(now + 0.01)
    assert "withholds" in lease.reason(now + 0.01)


def test_a_permit_after_a_withdrawal_opens_at_once(lease):
    now = steady(lease, False, 10.0)
    lease.update(True, now + BEAT)
    assert lease.is_open(now + BEAT)


def test_permits_that_come_late_and_all_at_once_open_nothing(lease):
    """As after the gate's process was frozen, or a network was."""
    now = steady(lease, True, 10.0) + 5.0
    for delay in (0.0, 0.001, 0.002):
        lease.update(True, now + delay)
        assert not lease.is_open(now + delay)
    assert "after a silence" in lease.reason(now + 0.002)


def test_it_opens_again_once_permits_have_come_for_a_lease(lease):
    begin = steady(lease, True, 10.0) + 5.0
    assert not lease.is_open(steady(lease, True, begin, beats=4))
    assert lease.is_open(steady(lease, True, begin + 4 * BEAT, beats=1))


@pytest.mark.law(10)
def test_of_two_publishers_on_a_topic_the_one_that_withholds_wins(lease):
    now = 10.0
    for _ in range(40):
        lease.update(True, now, contested=True)
        assert not lease.is_open(now)
        lease.update(False, now + BEAT / 2, contested=True)
        assert not lease.is_open(now + BEAT / 2)
        assert "one of several publishers" in lease.reason(now + BEAT / 2)
        now += BEAT
    beats = int(CONTESTED_MEMORY / BEAT)
    assert not lease.is_open(steady_contested(lease, now, beats=beats - 1))
    assert lease.is_open(steady_contested(lease, now + (beats - 1) * BEAT, beats=3))


@pytest.mark.law(10)
def test_what_a_publisher_withheld_before_another_came_is_none_of_their_contradiction(lease):
    now = steady(lease, True, 10.0) + BEAT
    lease.update(False, now)
    now = steady(lease, True, now + BEAT) + BEAT
    lease.update(True, now, contested=True)
    assert lease.is_open(now)
    lease.update(False, now + BEAT, contested=True)
    lease.update(True, now + 2 * BEAT, contested=True)
    assert not lease.is_open(now + 2 * BEAT)


@pytest.mark.law(10)
def test_of_two_publishers_one_withholds_however_seldom(lease):
    now = steady(lease, True, 10.0)
    for _ in range(5):
        now += BEAT
        lease.update(False, now, contested=True)
        for _ in range(int(2.0 / BEAT)):
            now += BEAT
            lease.update(True, now, contested=True)
            assert not lease.is_open(now)


@pytest.mark.law(10)
def test_what_floods_a_permit_opens_nothing(lease):
    now = steady(lease, True, 10.0)
    lease.overflow(now)
    lease.update(True, now)
    assert not lease.is_open(now)
    assert "messages on 'monitor/permit' are lost" in lease.reason(now)
    now = steady(lease, True, now + BEAT)
    assert lease.is_open(now)


@pytest.mark.law(3)
def test_a_permit_is_as_old_as_its_stamp_states(lease):
    now = 10.0
    for _ in range(10):
        now += BEAT
        lease.update(True, now, age=0.125)
    assert lease.is_open(now + 0.1)
    assert not lease.is_open(now + 0.125)
    assert "no permit on" in lease.reason(now + 0.125)


@pytest.mark.law(3)
@pytest.mark.parametrize(
    ("age", "reason"),
    [(2.0, "are 2 s old when they are read"), (-2.0, "are stamped 2 s ahead of this")],
)
def test_clocks_further_apart_than_the_lease_keep_it_closed(lease, age, reason):
    for beat in range(100):
        lease.update(True, 10.0 + beat * BEAT, age=age)
        assert not lease.is_open(10.0 + beat * BEAT)
    assert reason in lease.reason(10.0 + 99 * BEAT)


@pytest.mark.law(3)
def test_a_clock_that_is_a_little_ahead_lengthens_no_lease(lease):
    for beat in range(10):
        lease.update(True, 10.0 + beat * BEAT, age=-0.2)
    assert lease.is_open(10.0 + 9 * BEAT + LEASE - 0.01)
    assert not lease.is_open(10.0 + 9 * BEAT + LEASE)


def steady_contested(lease: PermitLease, begin: float, beats: int) -> float:
    for beat in range(beats):
        lease.update(True, begin + beat * BEAT, contested=True)
    return begin + (beats - 1) * BEAT


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 0.5)), min_size=1))
def test_it_is_never_open_without_a_fresh_newest_permit(permits):
    lease, now, first_since_silence = PermitLease(LEASE, "permit"), 100.0, 100.0
    heard = -math.inf
    for permitted, pause in permits:
        if now - heard >= LEASE:
            first_since_silence = now
        lease.update(permitted, now)
        heard = now
        now += pause
        steady_for = heard - first_since_silence
        assert lease.is_open(now) == (permitted and now - heard < LEASE and steady_for >= LEASE)


# The speed scale


@pytest.fixture
def speed() -> SpeedScaleLease:
    return SpeedScaleLease(LEASE, "monitor/speed_scale")


def test_the_speed_scale_is_zero_before_the_first(speed):
    assert speed.scale(0.0) == 0.0
    assert "no speed scale has come yet on 'monitor/speed_scale'" in speed.fault(0.0)


def test_a_speed_scale_counts_for_the_lease_and_no_longer(speed):
    speed.update(0.4, 10.0)
    assert speed.scale(10.0 + LEASE - 0.01) == 0.4
    assert speed.fault(10.0) == ""
    assert speed.scale(10.0 + LEASE) == 0.0
    assert "for 0.25 s" in speed.fault(10.0 + LEASE)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.0001, -math.inf])
def test_a_speed_scale_that_is_none_is_zero(speed, value):
    speed.update(value, 10.0)
    assert speed.scale(10.0) == 0.0
    assert "expected 0 to 1" in speed.fault(10.0)


@pytest.mark.parametrize("value", [0.0, MIN_SPEED_SCALE / 2])
def test_next_to_no_speed_is_standing_still(speed, value):
    speed.update(value, 10.0)
    assert speed.scale(10.0) == 0.0
    assert "stand still" in speed.fault(10.0)


@pytest.mark.law(10)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1))
def test_of_several_publishers_the_slowest_speed_counts(values):
    speed = SpeedScaleLease(LEASE, "speed")
    for index, value in enumerate(values):
        speed.update(value, 0.001 * index, contested=True)
    valid = all(MIN_SPEED_SCALE <= value <= 1 for value in values)
    now = 0.001 * (len(values) - 1)
    assert speed.scale(now) == (min(values) if valid and now < CONTESTED_MEMORY else 0.0)


@pytest.mark.law(10)
def test_a_slow_speed_of_several_publishers_is_forgotten_in_the_end(speed):
    speed.update(0.0, 0.0, contested=True)
    speed.update(1.0, CONTESTED_MEMORY, contested=True)
    assert speed.scale(CONTESTED_MEMORY) == 0.0
    speed.update(1.0, CONTESTED_MEMORY + 0.1, contested=True)
    assert speed.scale(CONTESTED_MEMORY + 0.1) == 1.0


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_the_speed_scale_lies_in_the_unit_interval_and_never_exceeds_what_was_said(value):
    speed = SpeedScaleLease(LEASE, "speed")
    speed.update(value, 0.0)
    scale = speed.scale(0.0)
    assert 0.0 <= scale <= 1.0
    assert scale in (0.0, value)
    assert bool(speed.fault(0.0)) == (scale == 0.0)
