# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A rollout starts only when its start was received, whatever publishers come and go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.monitoring.rollout_reports import (
    CHANGED,
    FIRST,
    UNDER_WAY,
    RolloutEnd,
    RolloutReports,
    RolloutStart,
)

pytestmark = [pytest.mark.law(4), pytest.mark.law(10)]

ENDED = RolloutEnd("")


def changes(*reports):
    """Return what reports (value, number) change, without those that change nothing."""
    received = RolloutReports()
    return [change for one in reports if (change := received.update(*one)) is not None]


def test_a_rollout_runs_from_true_to_false_and_repetitions_change_nothing():
    reports = [(False, 1), (True, 2), (True, 3), (True, 4), (False, 5), (False, 6), (True, 7)]
    assert changes(*reports) == [RolloutStart(""), ENDED, RolloutStart("")]


def test_the_first_report_of_a_publisher_may_be_a_start():
    assert changes((True, 1)) == [RolloutStart("")]
    assert changes((True, 1), (False, 1), (True, 1)) == [RolloutStart(""), ENDED, RolloutStart("")]


def test_another_task_is_another_rollout():
    assert changes(("pick", 1), ("pick", 2), ("place", 3), ("", 4)) == [
        RolloutStart("pick"),
        RolloutStart("place"),
        ENDED,
    ]


def test_a_rollout_that_is_under_way_when_the_topic_is_joined_is_not_started():
    joined = [(True, 57), (True, 58), (True, 59)]
    assert changes(*joined) == [RolloutEnd(UNDER_WAY)]
    assert changes(*joined, (False, 60), (True, 61)) == [
        RolloutEnd(UNDER_WAY),
        ENDED,
        RolloutStart(""),
    ]


@pytest.mark.parametrize("number", [1, 2, 40])
def test_a_publisher_that_is_restarted_in_the_middle_of_a_rollout_ends_it(number):
    reports = [(True, 10), (False, 11), (True, 12), (True, number), (True, number + 1)]
    assert changes((False, 9), *reports)[-2:] == [RolloutStart(""), RolloutEnd(CHANGED)]
    more = [(False, number + 2), (True, number + 3)]
    assert changes((False, 9), *reports, *more)[-2:] == [ENDED, RolloutStart("")]


def test_a_lost_report_may_have_been_an_end():
    assert changes((True, 1), (True, 3)) == [RolloutStart(""), RolloutEnd(CHANGED)]


def test_a_second_publisher_that_reports_an_end_does_not_restart_what_the_first_reports():
    reports = [(True, 1), (True, 2), (False, 1), (True, 3), (True, 4)]
    assert changes(*reports) == [RolloutStart(""), ENDED, RolloutEnd(UNDER_WAY)]


def test_without_numbers_every_change_counts():
    assert changes((True, None), (True, None), (False, None), (True, None)) == [
        RolloutStart(""),
        ENDED,
        RolloutStart(""),
    ]


@given(st.lists(st.tuples(st.booleans(), st.integers(FIRST, 12)), max_size=40))
def test_what_runs_was_seen_to_start_and_every_report_of_it_since(reports):
    received, running, previous = RolloutReports(), False, (None, None)
    for report, number in reports:
        follows = previous[1] is not None and number == previous[1] + 1
        change = received.update(report, number)
        if isinstance(change, RolloutStart):
            assert report
            assert not running
            assert number == FIRST or (follows and previous[0] is False)
        # A running rollout goes on only by the next report of the same publisher.
        still = running and report and follows
        assert not (running and change is None and not still)
        running = still or isinstance(change, RolloutStart)
        assert not (running and isinstance(change, RolloutEnd))
        previous = report, number
