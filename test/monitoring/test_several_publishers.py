# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A second publisher shows by its first message, before the middleware counts it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.monitoring.permit import PermitLease, SpeedScaleLease
from failure_monitor.monitoring.several_publishers import CONTESTED_MEMORY, SeveralPublishers

pytestmark = pytest.mark.law(10)

LEASE = 0.25
BEAT = 0.0625


def test_one_publisher_is_one():
    publishers = SeveralPublishers()
    assert publishers.update(7, 1, 0.0) is None
    assert {publishers.update(8 + beat, 1, BEAT * beat) for beat in range(100)} == {False}


def test_a_count_is_remembered_for_as_long_as_a_withdrawal():
    publishers = SeveralPublishers()
    publishers.update(1, 2, 0.0)
    assert publishers.update(2, 1, CONTESTED_MEMORY - BEAT)
    assert publishers.update(3, 1, CONTESTED_MEMORY) is False


def test_one_that_is_started_again_or_loses_messages_is_one_again_after_a_while():
    publishers = SeveralPublishers()
    publishers.update(500, 1, 0.0)
    assert publishers.update(1, 1, 1.0)
    assert publishers.update(3, 1, 2.0)
    assert publishers.update(4, 1, 2.0 + CONTESTED_MEMORY) is False


def test_without_numbers_a_single_one_is_uncertain():
    publishers = SeveralPublishers()
    assert {publishers.update(None, 1, BEAT * beat) for beat in range(10)} == {None}
    # As on Humble, where callbacks are given no number, and messages that are taken are.
    assert publishers.update(11, 1, 1.0) is None
    assert publishers.update(None, 1, 1.0 + BEAT) is None
    assert publishers.update(None, 2, 1.0 + 2 * BEAT)


@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.lists(st.booleans(), min_size=2, max_size=60),
    st.integers(0, 60),
)
def test_a_permit_undoes_no_withdrawal_of_a_publisher_that_is_not_counted(
    first, second, turns, counted
):
    """However they take turns, whatever their numbers are, and whenever the second is counted."""
    lease, publishers = PermitLease(LEASE, "permit"), SeveralPublishers()
    now, withheld_at = 100.0, None
    for beat in range(5):
        now += BEAT
        lease.update(True, now, contested=publishers.update(first + beat, 1, now))
    assert lease.is_open(now)
    numbers = {True: first + 5, False: second}
    for index, permits in enumerate(turns):
        now += BEAT / 2
        several = publishers.update(numbers[permits], 2 if index >= counted else 1, now)
        lease.update(permits, now, contested=several)
        numbers[permits] += 1
        withheld_at = withheld_at if permits else now
        assert lease.is_open(now) is (withheld_at is None)


def test_where_it_is_uncertain_a_withdrawal_counts_for_a_lease():
    lease, speed = PermitLease(LEASE, "permit"), SpeedScaleLease(LEASE, "speed")
    now = 100.0
    for _ in range(8):
        now += BEAT
        lease.update(True, now, contested=None)
    lease.update(False, now, contested=None)
    speed.update(0.0, now, contested=None)
    for _ in range(3):
        now += BEAT
        lease.update(True, now, contested=None)
        speed.update(1.0, now, contested=None)
        assert not lease.is_open(now)
        assert speed.scale(now) == 0.0
    lease.update(True, now + 2 * BEAT, contested=None)
    speed.update(1.0, now + 2 * BEAT, contested=None)
    assert lease.is_open(now + 2 * BEAT)
    assert speed.scale(now + 2 * BEAT) == 1.0
