# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Two sources of one joint, and a frozen source, are found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.messages.joint_sources import MEMORY, NO_STAMP, RESTART, JointSources

pytestmark = pytest.mark.law(10)


def played(messages, sources=None, start=100.0, period=0.01):
    """Return the sources after messages of (names, number, stamp), and the time of the last."""
    sources, now = sources or JointSources(), start
    for names, number, stamp in messages:
        now += period
        sources.update(names, number, stamp, now)
    return sources, now


@given(st.lists(st.integers(1, 20), min_size=1), st.integers(0, 2**60))
def test_one_publisher_that_loses_messages_is_no_contradiction(gaps, start):
    numbers = [start + sum(gaps[: index + 1]) for index in range(len(gaps))]
    sources, now = played([(["a", "b"], number, NO_STAMP) for number in numbers])
    assert sources.contradicted(now) == []


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 20))
def test_two_publishers_of_a_joint_are_a_contradiction_at_any_rate(first, second, every):
    messages = []
    for index in range(2 * every + 2):
        messages.append((["a", "b"], first + index, NO_STAMP))
        if index % every == 0:
            messages.append((["b", "c"], second + index // every, NO_STAMP))
    sources, now = played(messages)
    assert sources.contradicted(now) == ["b"]
    assert sources.contradicted(now + MEMORY) == []


def test_a_second_source_is_one_before_it_is_counted_and_a_restarted_one_is_trusted_soon():
    sources = JointSources()
    sources.update(["a"], 500, NO_STAMP, 1.0, is_single=True)
    sources.update(["a"], 1, NO_STAMP, 2.0, is_single=True)
    assert sources.contradicted(2.0) == ["a"]
    sources.update(["a"], 2, NO_STAMP, 2.0 + RESTART, is_single=True)
    assert sources.contradicted(2.0 + RESTART) == []


def test_publishers_of_different_joints_agree():
    messages = [m for i in range(50) for m in ((["a"], 7 * i, NO_STAMP), (["b"], 3 * i, NO_STAMP))]
    sources, now = played(messages)
    assert sources.contradicted(now) == []


def test_without_numbers_nothing_is_claimed():
    sources, now = played([(["a"], None, NO_STAMP)] * 10)
    assert sources.contradicted(now) == []


def test_messages_that_keep_their_stamp_are_frozen():
    sources, now = played([(["a"], i, (5, 0)) for i in range(60)])
    assert sources.frozen(now, 0.5) == ["a"]
    assert sources.frozen(now + 0.6, 0.5) == []
    sources, now = played([(["a"], 60, (5, 1))], sources, start=now)
    assert sources.frozen(now, 0.5) == []


def test_messages_without_a_stamp_are_not_frozen():
    sources, now = played([(["a"], i, NO_STAMP) for i in range(60)])
    assert sources.frozen(now, 0.5) == []
