# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Values on topics of their own belong to the decision that they were published with."""

import pytest

from failure_monitor.ros.monitor.awaited_values import (
    MAX_WAITING_DECISIONS,
    AwaitedValues,
    Completed,
    Incomplete,
    Places,
)
from failure_monitor.ros.monitor.inputs import waiting_tokens_of

# The values of decision k are published at 10 k + 1, its chunks at 10 k + 2.
PUBLISHED = {
    number: Places(10 * number - 8 if number else None, 10 * number + 2) for number in range(5)
}


def settled(*results):
    """Return what came out: numbers and values, or numbers and what they lack."""
    return [
        (one.number, dict(one.values)) if isinstance(one, Completed) else (one.number, one.missing)
        for result in results
        for one in result
    ]


@pytest.fixture
def awaited():
    return AwaitedValues({"energy": 4, "bend": 4})


def test_a_value_that_came_first_completes_its_decision_at_once(awaited):
    assert not awaited.add_value("energy", 1, 0.5)
    assert settled(awaited.add_decision(0, None, {"energy": PUBLISHED[0]})) == [
        (0, {"energy": 0.5})
    ]
    assert awaited.missing() == ""


def test_a_late_value_completes_its_decision_and_never_the_next(awaited):
    """Delivery of several topics keeps no order; what counts is when they were published."""
    assert not awaited.add_decision(0, None, {"energy": PUBLISHED[0]})
    assert awaited.missing() == "energy"
    assert not awaited.add_decision(1, None, {"energy": PUBLISHED[1]})
    assert settled(awaited.add_value("energy", 1, 0.5)) == [(0, {"energy": 0.5})]
    assert settled(awaited.add_value("energy", 11, 0.75)) == [(1, {"energy": 0.75})]


def test_a_decision_without_its_value_never_gets_that_of_the_one_before(awaited):
    awaited.add_value("energy", 1, 0.5)
    awaited.add_decision(0, None, {"energy": PUBLISHED[0]})
    assert not awaited.add_decision(1, None, {"energy": PUBLISHED[1]})
    results = (
        awaited.add_value("energy", 21, 0.25),
        awaited.add_decision(2, None, {"energy": PUBLISHED[2]}),
    )
    assert settled(*results) == [(1, "energy"), (2, {"energy": 0.25})]


def test_of_several_values_of_a_decision_the_newest_counts(awaited):
    for place, value in ((10, 1.0), (11, 2.0), (13, 3.0)):
        awaited.add_value("energy", place, value)
    assert settled(awaited.add_decision(1, None, {"energy": PUBLISHED[1]})) == [
        (1, {"energy": 2.0})
    ]
    assert settled(awaited.add_decision(2, None, {"energy": PUBLISHED[2]})) == [
        (2, {"energy": 3.0})
    ]


def test_decisions_keep_their_order_while_one_of_several_values_is_missing(awaited):
    both = {"energy": PUBLISHED[0], "bend": PUBLISHED[0]}
    awaited.add_value("bend", 1, 1.0)
    assert not awaited.add_decision(0, None, both)
    assert not awaited.add_decision(1, None, {"bend": PUBLISHED[1]})
    assert not awaited.add_value("bend", 11, 2.0)
    assert settled(awaited.add_value("energy", 1, 3.0)) == [
        (0, {"energy": 3.0, "bend": 1.0}),
        (1, {"bend": 2.0}),
    ]


def test_a_clock_that_was_set_back_starts_the_places_again(awaited):
    awaited.add_value("energy", 1_000, 0.5)
    awaited.add_value("energy", 1, 0.75)
    assert settled(awaited.add_decision(0, None, {"energy": Places(None, 2)})) == [
        (0, {"energy": 0.75})
    ]


def test_a_decision_from_before_a_clock_was_set_back_holds_up_no_other(awaited):
    awaited.add_value("energy", 1_000, 0.5)
    assert not awaited.add_decision(0, None, {"energy": Places(1_000, 1_010)})
    results = (
        awaited.add_value("energy", 1, 0.75),
        awaited.add_decision(1, None, {"energy": Places(None, 2)}),
    )
    assert settled(*results) == [(0, "energy"), (1, {"energy": 0.75})]


def test_of_a_decision_that_waited_too_long_what_is_missing_is_named(awaited):
    awaited.add_value("energy", 1, 0.5)
    places = {"energy": Places(None, 2), "bend": Places(None, 2)}
    results = [
        awaited.add_decision(number, None, places) for number in range(MAX_WAITING_DECISIONS + 1)
    ]
    assert settled(*results) == [(0, "bend")]


def test_what_waits_is_bounded_and_every_decision_ends(awaited):
    results = [
        awaited.add_decision(number, None, {"energy": Places(None, 2)})
        for number in range(MAX_WAITING_DECISIONS + 1)
    ]
    assert settled(*results) == [(0, "energy")]
    assert awaited.clear() == list(range(1, MAX_WAITING_DECISIONS + 1))
    assert awaited.missing() == ""
    for place in range(10, 100):
        awaited.add_value("energy", place, float(place))
    result = awaited.add_decision(0, None, {"energy": Places(None, 50)})
    assert isinstance(result[0], Incomplete)


def test_large_tokens_that_wait_take_no_more_memory_than_many_small_ones():
    assert waiting_tokens_of(None) == waiting_tokens_of((50, 720)) == 32
    # 4 MiB each, as of a large language model.
    assert waiting_tokens_of((1024, 1024)) == 16
    assert waiting_tokens_of((8192, 8192)) == 4
