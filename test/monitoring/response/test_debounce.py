# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Debouncing: rarer alarms, never more of them."""

from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.monitoring.response.debounce import Debounce

OVERS = st.lists(st.booleans(), max_size=40)
COUNTS = st.integers(1, 5)


def heard(overs: list[bool], trigger: int, release: int) -> list[bool]:
    debounce = Debounce(trigger=trigger, release=release)
    holds = []
    for over in overs:
        debounce.update(over)
        holds.append(debounce.holds)
    return holds


def test_it_takes_so_many_in_a_row_to_raise_and_to_end_it():
    overs = [True, False, True, True, False, True, False, False, True]
    expected = [False, False, False, True, True, True, True, False, False]
    assert heard(overs, trigger=2, release=2) == expected


@given(OVERS)
def test_counts_of_one_change_nothing(overs):
    assert heard(overs, 1, 1) == overs


@given(OVERS, COUNTS, COUNTS)
def test_a_higher_trigger_never_alarms_earlier_or_more_often(overs, trigger, release):
    holds = heard(overs, trigger, release)
    if any(holds):
        first = holds.index(True)
        assert all(overs[first - trigger + 1 : first + 1])
        # The first alarm of a lower count is never later: the false-alarm rate can only fall.
        assert heard(overs, max(trigger - 1, 1), release).index(True) <= first


@given(OVERS, COUNTS, COUNTS)
def test_it_holds_from_the_trigger_to_the_release(overs, trigger, release):
    holds = heard(overs, trigger, release)
    for now in range(1, len(overs)):
        if holds[now - 1] and not holds[now]:
            assert not any(overs[now - release + 1 : now + 1])
        if not holds[now - 1] and holds[now]:
            assert all(overs[now - trigger + 1 : now + 1])


@given(OVERS, COUNTS, COUNTS)
def test_it_counts_for_how_long_it_has_held_and_says_where_it_differs(overs, trigger, release):
    debounce, held = Debounce(trigger=trigger, release=release), 0
    for over in overs:
        debounce.update(over)
        held = held + 1 if debounce.holds else 0
        assert debounce.held == held
        assert bool(debounce.reason(over)) == (over != debounce.holds)


def test_a_new_rollout_starts_from_nothing():
    debounce = Debounce(trigger=2)
    debounce.update(True)
    assert debounce.reason(True) == "above the threshold for 1 of 2 decisions in a row"
    debounce.start_rollout()
    debounce.update(True)
    assert not debounce.holds
