# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How long a message waited is known without synchronised clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.monitoring.waiting_time import MEMORY, WaitingTime

OFFSETS = st.floats(-1e5, 1e5)


@pytest.mark.law(2)
@given(OFFSETS, st.lists(st.tuples(st.floats(0.001, 0.5), st.floats(0.0, 2.0)), min_size=1))
def test_a_wait_is_never_overestimated_and_right_beside_one_that_did_not_wait(offset, messages):
    waiting, published = WaitingTime(), 1000.0
    waiting.update(int(1e9 * (published + offset)), published)
    newest_without_wait = read = published
    for pause, wait in messages:
        published += pause
        # Messages are read in their order.
        read = max(read, published + wait)
        wait = read - published
        waited = waiting.update(int(1e9 * (published + offset)), read)
        assert waited <= wait + 1e-5
        if read - newest_without_wait < MEMORY:
            assert waited == pytest.approx(wait, abs=1e-5)


def test_without_a_stamp_nothing_is_known():
    assert WaitingTime().update(None, 5.0) == 0.0


def test_after_a_clock_was_set_messages_count_as_timely_again():
    waiting = WaitingTime()
    waits = [waiting.update(int(1e9 * (100.0 + k * 0.1)), k * 0.1) for k in range(20)]
    waits += [waiting.update(int(1e9 * (99.0 + k * 0.1)), k * 0.1) for k in range(20, 200)]
    assert max(waits[:20]) == pytest.approx(0.0, abs=1e-5)
    assert waits[20] == pytest.approx(1.0, abs=1e-5)
    assert waits[-1] == pytest.approx(0.0, abs=1e-5)
