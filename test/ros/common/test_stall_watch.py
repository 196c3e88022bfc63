# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is read right after a stall may have waited through it, and is rejected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.ros.common.stall_watch import MAX_STALL, SETTLING, StallWatch

pytestmark = pytest.mark.law(8)

PERIOD = 0.05


def test_nothing_is_rejected_before_the_first_beat_and_while_beats_come():
    watch = StallWatch(PERIOD)
    assert watch.rejection(100.0) == ""
    for number in range(10):
        assert not watch.beat(100.0 + PERIOD * number)
        assert watch.rejection(100.0 + PERIOD * number) == ""


@given(st.floats(MAX_STALL + 0.01, 1e6), st.floats(0.0, SETTLING - 0.01))
def test_what_is_read_before_or_just_after_the_beat_that_ends_a_stall_is_rejected(stall, after):
    watch = StallWatch(PERIOD)
    watch.beat(0.0)
    assert "stood still for more than 1 s: ask again" in watch.rejection(stall)
    assert watch.beat(stall)
    assert watch.rejection(stall + after)


@given(st.floats(0.0, MAX_STALL - 0.01))
def test_a_shorter_stall_rejects_nothing(stall):
    watch = StallWatch(PERIOD)
    watch.beat(0.0)
    assert watch.rejection(stall) == ""
    assert not watch.beat(stall)
    assert watch.rejection(stall) == ""


def test_it_settles():
    watch = StallWatch(PERIOD)
    watch.beat(0.0)
    watch.beat(5.0)
    watch.beat(5.0 + SETTLING)
    assert watch.rejection(5.0 + SETTLING) == ""


def test_what_takes_long_on_request_is_no_stall():
    watch = StallWatch(PERIOD)
    watch.beat(0.0)
    watch.restart()
    assert watch.rejection(9.0) == ""
    assert not watch.beat(9.0)


def test_a_slow_heartbeat_is_no_stall():
    watch = StallWatch(1.0)
    watch.beat(0.0)
    assert not watch.beat(1.05)
