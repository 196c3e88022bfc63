# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A permit runs out by itself."""

from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.permit import PermitLease

LEASE = 0.2


def test_it_is_closed_before_the_first_permit():
    lease = PermitLease(LEASE)
    assert not lease.is_open(0.0)
    assert "no permit has come yet" in lease.reason(0.0)


def test_a_permit_opens_for_the_lease_and_no_longer():
    lease = PermitLease(LEASE)
    lease.hear(True, 10.0)
    assert lease.is_open(10.0)
    assert lease.is_open(10.19)
    assert not lease.is_open(10.21)
    assert "no permit for 0.2 s" in lease.reason(10.3)


def test_a_withdrawal_closes_at_once():
    lease = PermitLease(LEASE)
    lease.hear(True, 10.0)
    lease.hear(False, 10.01)
    assert not lease.is_open(10.01)
    assert "withholds" in lease.reason(10.01)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 0.5)), min_size=1))
def test_it_is_open_only_by_the_newest_permit(permits):
    lease, now = PermitLease(LEASE), 100.0
    for permitted, pause in permits:
        lease.hear(permitted, now)
        heard = now
        now += pause
        assert lease.is_open(now) == (permitted and now - heard < LEASE)
