# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A permit and a speed scale run out by themselves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.monitoring.permit import MIN_SPEED_SCALE, PermitLease, SpeedScaleLease

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


def test_of_two_publishers_on_a_topic_the_one_that_withholds_wins(lease):
    now = 10.0
    for _ in range(40):
        lease.update(True, now, contested=True)
        assert not lease.is_open(now)
        lease.update(False, now + BEAT / 2, contested=True)
        assert not lease.is_open(now + BEAT / 2)
        assert "one of several publishers" in lease.reason(now + BEAT / 2)
        now += BEAT
    assert not lease.is_open(steady_contested(lease, now, beats=3))
    assert lease.is_open(steady_contested(lease, now + 3 * BEAT, beats=3))


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


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_the_speed_scale_lies_in_the_unit_interval_and_never_exceeds_what_was_said(value):
    speed = SpeedScaleLease(LEASE, "speed")
    speed.update(value, 0.0)
    scale = speed.scale(0.0)
    assert 0.0 <= scale <= 1.0
    assert scale in (0.0, value)
    assert bool(speed.fault(0.0)) == (scale == 0.0)
