# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Another cause of the same state is told, and not at every message."""

from __future__ import annotations

import pytest

from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.told_state import SETTLING, ToldState, stale_reason

STALE = AlarmState.STALE


def test_another_state_is_told_at_once_and_another_reason_if_it_lasts():
    told = ToldState()
    assert told.is_new(STALE, "no decision for 1.5 s", 0.0)
    assert not told.is_new(STALE, "no decision for 17 s", 20.0), "numbers alone"
    assert not told.is_new(STALE, "several publishers on /joint_states", 21.0)
    assert told.is_new(STALE, "several publishers on /joint_states", 21.0 + SETTLING)
    assert not told.is_new(STALE, "several publishers on /joint_states", 30.0)
    assert told.is_new(AlarmState.NOMINAL, "", 30.1)
    assert told.is_new(STALE, "several publishers on /joint_states", 30.2)


def test_causes_that_alternate_are_told_once_a_second():
    told = ToldState()
    told.is_new(STALE, "first", 0.0)
    times = [0.1 * step for step in range(1, 101)]
    new = [told.is_new(STALE, ("first", "second")[step % 2], at) for step, at in enumerate(times)]
    assert 5 <= sum(new) <= 10


@pytest.mark.parametrize(
    ("state", "reason", "now", "expected"),
    [
        (STALE, "no decision", "", "no decision"),
        (AlarmState.ALARM, "ace 2.0", "", ""),
        (AlarmState.NOMINAL, "ace 0.2", "", ""),
        (STALE, "it stopped", "NOMINAL: ace 0.2", "it stopped"),
        (STALE, "it stopped", "STALE: two of them", "it stopped; now STALE: two of them"),
        (
            STALE,
            "it stopped; now two of them",
            "STALE: two of them",
            "it stopped; now two of them",
        ),
        (AlarmState.ALARM, "ace 2.0", "STALE: two of them", "now STALE: two of them"),
    ],
)
def test_reason_is_the_cause_that_has_to_be_removed(state, reason, now, expected):
    assert stale_reason(state, reason, now) == expected
