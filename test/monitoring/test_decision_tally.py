# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every decision is scored or counted, and too many without a score are a problem."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.monitoring.decision_tally import (
    MAX_WAIT,
    NOT_YET_SCORED,
    RECENT,
    DecisionTally,
)

pytestmark = pytest.mark.law(6)

LATER = 10 * MAX_WAIT
"""When everything that still waits counts as not scored."""


def tally_of(outcomes, max_unscored=2):
    """Return a tally of decisions that were scored (True) or could not be (False)."""
    tally = DecisionTally(max_unscored)
    for is_scored in outcomes:
        number = tally.receive(0.0)
        if is_scored:
            tally.set_scored(number)
        else:
            tally.set_unscored(number, "of the test")
    return tally


@given(st.lists(st.booleans(), max_size=200), st.integers(0, 5))
def test_too_many_without_a_score_are_a_problem_and_no_others(outcomes, max_unscored):
    tally = tally_of(outcomes, max_unscored)
    last = outcomes[::-1]
    in_a_row = last.index(True) if True in last else len(last)
    recently = outcomes[-RECENT:].count(False)
    assert bool(tally.problem(0.0)) == (in_a_row > max_unscored or recently > 5)
    assert tally.received == len(outcomes)
    assert tally.unscored == outcomes.count(False)
    values = tally.values(0.0)
    assert int(values["unscored_of_last_50"]) == recently
    assert int(values["unscored_in_a_row"]) == min(in_a_row, RECENT)


@given(st.data())
def test_it_does_not_matter_when_a_decision_is_settled(data):
    """Decisions are settled in any order, one after the other."""
    outcomes = data.draw(st.lists(st.booleans(), max_size=80))
    tally = DecisionTally(2)
    numbers = [tally.receive(0.0) for _ in outcomes]
    assert numbers == list(range(len(outcomes)))
    for number in data.draw(st.permutations(numbers)):
        if outcomes[number]:
            tally.set_scored(number)
        else:
            tally.set_unscored(number, "of the test")
    assert tally.values(LATER) == tally_of(outcomes).values(LATER)
    assert tally.problem(LATER) == tally_of(outcomes).problem(LATER)


@given(st.lists(st.sampled_from(["scored", "unscored", "waiting", "lost"]), max_size=120))
def test_no_decision_is_forgotten_in_silence(outcomes):
    tally = DecisionTally(0)
    for outcome in outcomes:
        if outcome == "lost":
            tally.lose(1, 0.0, "of the test")
            continue
        number = tally.receive(0.0)
        if outcome == "scored":
            tally.set_scored(number)
        elif outcome == "unscored":
            tally.set_unscored(number, "of the test")
    assert tally.received == len(outcomes)
    unscored = [outcome != "scored" for outcome in outcomes]
    assert int(tally.values(LATER)["unscored_of_last_50"]) == sum(unscored[-RECENT:])
    assert bool(tally.problem(LATER)) == (unscored[-1:] == [True] or sum(unscored[-RECENT:]) > 5)


def test_three_in_a_row_are_one_too_many():
    assert tally_of([True, False, False]).problem(0.0) == ""
    assert tally_of([True, False, False, False]).problem(0.0) == (
        "3 decisions in a row were not scored, the last because of the test"
    )
    assert tally_of([True, False], max_unscored=0).problem(0.0) == (
        "1 decision was not scored: of the test"
    )


def test_more_than_a_tenth_of_the_last_fifty_are_too_many():
    sound = [True] * 9 + [False]
    assert tally_of(sound * 5).problem(0.0) == ""
    assert tally_of([*sound * 5, False]).problem(0.0) == (
        "6 of the last 50 decisions were not scored, the last because of the test"
    )
    assert tally_of([*sound * 5, False, *[True] * 9]).problem(0.0) == ""


def test_a_decision_that_waits_counts_once_it_has_waited_for_long():
    tally = DecisionTally(0)
    number = tally.receive(5.0, "the other part is missing")
    assert tally.problem(5.0 + MAX_WAIT) == ""
    assert "the other part is missing" in tally.problem(5.1 + MAX_WAIT)
    tally.set_at_work(number)
    assert NOT_YET_SCORED in tally.problem(5.1 + MAX_WAIT)
    tally.set_scored(number)
    assert tally.problem(5.1 + MAX_WAIT) == ""
    assert tally.unscored == 0


def test_a_reset_does_not_forgive_decisions_whose_scoring_hangs():
    tally = tally_of([False])
    for _ in range(3):
        tally.set_at_work(tally.receive(0.0))
    tally.receive(0.0, "its other part is missing")
    tally.reset(LATER, 0.1)
    assert "3 decisions in a row were not scored" in tally.problem(LATER)
    assert NOT_YET_SCORED in tally.problem(LATER)


def test_a_reset_forgives_what_was_rare():
    tally = tally_of([True, False] * 10)
    assert "10 of the last 20" in tally.problem(0.0)
    tally.reset(0.0, 1.0)
    assert tally.problem(0.0) == ""


def test_many_lost_ones_are_counted_at_once():
    tally = DecisionTally(2)
    tally.lose(10**12, 0.0, "the network is down")
    assert (tally.received, tally.unscored) == (10**12, 10**12)
    assert "50 decisions in a row" in tally.problem(0.0)
    assert tally.receive(0.0) == 10**12


def test_what_a_newer_one_replaces_by_design_is_neither_scored_nor_missing():
    tally = tally_of([True] * 3, max_unscored=0)
    tally.drop(tally.receive(0.0))
    assert tally.problem(LATER) == ""
    assert tally.receive(0.0) == 4


def test_a_reset_forgives_unless_more_come_and_a_rollout_starts_from_nothing():
    tally = tally_of([False] * 10)
    waiting = tally.receive(0.0)
    tally.reset(0.9, 1.0)
    assert "10 decisions in a row" in tally.problem(0.0)
    tally.reset(LATER, 1.0)
    tally.set_unscored(waiting, "of before the reset")
    assert tally.problem(LATER) == ""
    assert (tally.received, tally.unscored) == (11, 11)
    tally.start_rollout()
    assert (tally.received, tally.unscored, tally.receive(0.0)) == (0, 0, 0)
