# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Joint states to means and newest values between decisions, however they come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.joint_motion import JointMotion, seldom_stated
from failure_monitor.messages import joint_intervals
from failure_monitor.messages.joint_intervals import JointIntervals, JointTopic

TOPIC = "/joint_states"
START = 10**12
MILLISECOND = 10**6
JOINTS = ("a", "b", "c")


@dataclass(frozen=True)
class Message:
    """A joint state: positions, velocities and efforts by joint."""

    at: int
    positions: Mapping[str, float] = field(default_factory=dict)
    velocities: Mapping[str, float] = field(default_factory=dict)
    efforts: Mapping[str, float] = field(default_factory=dict)
    topic: str = TOPIC

    @property
    def stamp(self) -> int:
        return START + self.at * MILLISECOND

    def quantities(self) -> dict[str, float]:
        return {
            f"{joint}/{kind}": value
            for kind, values in (
                ("position", self.positions),
                ("velocity", self.velocities),
                ("effort", self.efforts),
            )
            for joint, value in values.items()
        }

    def add_to(self, intervals: JointIntervals) -> None:
        names = list(self.positions or self.velocities or self.efforts)
        intervals.topics[self.topic].add(
            self.stamp,
            names,
            *(
                [values[name] for name in names] if values else []
                for values in (self.positions, self.velocities, self.efforts)
            ),
        )


def naive(
    messages: Sequence[Message], names: Sequence[str], after: int | None, until: int
) -> tuple[list[float], list[float]]:
    """States and means by their definition; of one stamp, the value that came last is newest."""
    states, means = [], []
    for name in names:
        known = [
            (m.at, order, m.quantities()[name])
            for order, m in enumerate(messages)
            if name in m.quantities() and m.at <= until
        ]
        states.append(max(known)[2] if known else math.nan)
        within = [] if after is None else [value for at, _, value in known if at > after]
        means.append(math.fsum(within) / len(within) if within else math.nan)
    return states, means


def motion(intervals: JointIntervals, at: int) -> JointMotion:
    return intervals.take(START + at * MILLISECOND)


def add(intervals: JointIntervals, *messages: Message) -> None:
    for message in messages:
        message.add_to(intervals)


values = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
parts = st.dictionaries(st.sampled_from(JOINTS), values, min_size=1)


@st.composite
def messages_of(draw: st.DrawFn) -> Message:
    """Some joints in some order, with any of their quantities, on one of two topics."""
    joints = draw(st.permutations(JOINTS))[: draw(st.integers(1, 3))]
    drawn = [
        dict(zip(joints, draw(st.lists(values, min_size=3, max_size=3)), strict=False))
        if draw(st.booleans())
        else {}
        for _ in range(3)
    ]
    topic = draw(st.sampled_from((TOPIC, "/gripper")))
    return Message(draw(st.integers(1, 900)), *drawn, topic=topic)


@given(
    st.lists(messages_of(), max_size=30),
    st.lists(st.integers(1, 900), min_size=1, max_size=4, unique=True).map(sorted),
    st.booleans(),
)
def test_any_order_and_partition_gives_the_naive_means(
    messages: list[Message], decisions: list[int], names_are_known: bool
) -> None:
    names = sorted({name for message in messages for name in message.quantities()})
    intervals = JointIntervals([TOPIC, "/gripper"], names if names_are_known else None)
    # In the order of their reception, before the first decision that they may belong to.
    rest = list(messages)
    received: list[Message] = []
    before = None
    for at in decisions:
        came = [message for message in rest if message.at <= at]
        rest = [message for message in rest if message.at > at]
        add(intervals, *came)
        received += came
        taken = motion(intervals, at)
        states, means = naive(received, taken.names, before, at)
        np.testing.assert_allclose(taken.means, means, rtol=1e-9, atol=1e-6)
        by_topic = {  # of two topics that state one joint with one stamp, either may be newest
            m.at: {n.topic for n in received if n.at == m.at} for m in received
        }
        if all(len(topics) == 1 for topics in by_topic.values()):
            np.testing.assert_array_equal(taken.states, states)
        assert set(taken.names) <= set(names)
        if names_are_known:
            assert list(taken.names) == names
        before = at


@given(
    st.permutations(range(1, 60)),
    st.integers(1, 60),
    st.sampled_from((4, 8, 64)),
)
def test_bursts_out_of_order_and_many_messages_are_added_up(
    order: list[int], decision: int, rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_intervals, "FIRST_ROWS", 2)
        patch.setattr(joint_intervals, "MAX_ROWS", rows)
        intervals = JointIntervals([TOPIC])
        motion(intervals, 0)
        messages = [Message(at, {"a": float(at)}, efforts={"a": at**2 / 7}) for at in order]
        if rows < 64:
            # What is so far behind that it was added up already is late, so here none is.
            messages.sort(key=lambda message: message.at)
        add(intervals, *messages)
        if rows < 64 and decision < 59:
            # A part of what was added up may be of later times.
            taken = motion(intervals, decision)
            assert np.isnan(taken.means).all() or taken.means[0] == (1 + decision) / 2
            return
        taken = motion(intervals, decision)
        _, means = naive(messages, taken.names, 0, decision)
        np.testing.assert_allclose(taken.means, means, rtol=1e-12)


def test_an_interval_longer_than_memory_has_its_exact_mean() -> None:
    intervals = JointIntervals([TOPIC])
    motion(intervals, 0)
    count = 3 * joint_intervals.MAX_ROWS
    for at in range(1, count + 1):
        add(intervals, Message(at, {"a": float(at)}))
    topic = intervals.topics[TOPIC]
    assert len(topic._stamps) == joint_intervals.MAX_ROWS
    taken = motion(intervals, count)
    assert taken.means[0] == (1 + count) / 2
    assert intervals.counts[0] == count
    assert taken.states[0] == count


def test_memory_is_bounded_whatever_names_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_intervals, "MAX_QUANTITIES", 100)
    intervals = JointIntervals([TOPIC])
    for number in range(200):
        add(intervals, Message(number + 1, {f"joint{number}": 1.0}))
    topic = intervals.topics[TOPIC]
    assert len(topic.quantities) == joint_intervals.MAX_QUANTITIES
    assert len(topic._known) <= joint_intervals.MAX_LAYOUTS
    wanted = JointIntervals([TOPIC], ["joint199/position"])
    for number in range(200):
        add(wanted, Message(number + 1, {f"joint{number}": 1.0}))
    assert wanted.topics[TOPIC].quantities == ["joint199/position"]


def test_orders_of_endless_names_are_not_all_remembered() -> None:
    topic = JointTopic(frozenset({"elbow/position"}))
    topic.add(1, ["elbow"], [0.5], (), ())
    for number in range(20):
        names = [f"joint_{number}_{index}" for index in range(2000)]
        topic.add(number + 2, names, np.zeros(2000), (), ())
    assert sum(len(names) for names, _ in topic._known) < 2 * 2000
    assert topic.take(100).states.tolist() == [0.5]


def test_a_first_decision_has_no_means() -> None:
    intervals = JointIntervals([TOPIC])
    add(intervals, Message(1, {"a": 1.0}))
    assert np.isnan(motion(intervals, 2).means).all()
    add(intervals, Message(3, {"a": 3.0}))
    assert motion(intervals, 4).means == [3.0]
    intervals.start_rollout()
    add(intervals, Message(5, {"a": 5.0}))
    taken = motion(intervals, 6)
    assert np.isnan(taken.means).all()
    assert taken.states == [5.0]


def test_without_a_message_in_between_the_newest_value_stands_and_the_mean_is_unknown() -> None:
    intervals = JointIntervals([TOPIC])
    add(intervals, Message(1, {"a": 1.0}))
    motion(intervals, 2)
    taken = motion(intervals, 4)
    assert taken.states == [1.0]
    assert np.isnan(taken.means).all()
    assert intervals.counts == [0]


def test_what_comes_after_its_decision_is_in_no_interval() -> None:
    intervals = JointIntervals([TOPIC])
    add(intervals, Message(1, {"a": 1.0}))
    motion(intervals, 10)
    add(intervals, Message(9, {"a": 100.0}), Message(10, {"a": 100.0}), Message(11, {"a": 2.0}))
    taken = motion(intervals, 20)
    assert taken.means == [2.0]
    assert taken.states == [2.0]
    assert intervals.topics[TOPIC].late == 2


def test_messages_of_later_stamps_wait_for_later_decisions() -> None:
    intervals = JointIntervals([TOPIC])
    motion(intervals, 0)
    add(intervals, Message(1, {"a": 1.0}), Message(5, {"a": 5.0}))
    assert motion(intervals, 3).means == [1.0]
    assert motion(intervals, 6).means == [5.0]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("others", [{}, {"b": 2.0}])
def test_a_broken_value_spoils_its_own_mean_alone_and_once(
    broken: float, others: dict[str, float]
) -> None:
    intervals = JointIntervals([TOPIC])
    motion(intervals, 0)
    add(
        intervals,
        Message(1, {"a": 1.0}, efforts={"a": broken}),
        Message(2, {"a": 3.0} | others, efforts={"a": 4.0} | others),
    )
    taken = motion(intervals, 3).select(("a/position", "a/effort"))
    assert taken.means[0] == 2.0
    assert math.isnan(taken.means[1])
    assert taken.states[1] == 4.0
    add(intervals, Message(4, {"a": 1.0}, efforts={"a": broken}))
    taken = motion(intervals, 4).select(("a/position", "a/effort"))
    assert math.isnan(taken.states[1])
    add(intervals, Message(5, {"a": 1.0}, efforts={"a": 6.0}))
    assert motion(intervals, 5).select(("a/effort",)).means == [6.0]


def test_stamps_that_start_again_are_of_a_new_time() -> None:
    intervals = JointIntervals([TOPIC])
    motion(intervals, 5000)
    add(intervals, Message(5001, {"a": 1.0}))
    motion(intervals, 5002)
    add(intervals, Message(5003, {"a": 1.0}))
    # The clock is set back: what was in between is not all there, so no mean is known.
    add(intervals, Message(1, {"a": 7.0}))
    taken = motion(intervals, 5004)
    assert np.isnan(taken.means).all()
    add(intervals, Message(2, {"a": 8.0}))
    assert np.isnan(motion(intervals, 3).means).all()
    add(intervals, Message(4, {"a": 9.0}))
    assert motion(intervals, 4).means == [9.0]


def test_a_decision_out_of_order_takes_nothing() -> None:
    intervals = JointIntervals([TOPIC])
    motion(intervals, 0)
    add(intervals, Message(1, {"a": 1.0}), Message(12, {"a": 3.0}))
    assert motion(intervals, 10).means == [1.0]
    assert np.isnan(motion(intervals, 9).means).all()
    assert np.isnan(motion(intervals, 10).means).all()
    assert motion(intervals, 12).means == [3.0]


def test_messages_without_a_stamp_are_in_no_interval() -> None:
    intervals = JointIntervals([TOPIC])
    intervals.topics[TOPIC].add(0, ["a"], [1.0], [], [])
    taken = motion(intervals, 1)
    assert np.isnan(taken.states).all()
    assert intervals.topics[TOPIC].unstamped == 1


@pytest.mark.parametrize(
    ("names", "efforts", "fault"),
    [
        (["a", "a"], [1.0, 2.0], "state a more than once"),
        (["a", "b"], [1.0], "have 2 joints, and numbers for 1 as their effort"),
    ],
)
def test_what_fits_no_joint_is_left_out_and_named(
    names: list[str], efforts: list[float], fault: str
) -> None:
    intervals = JointIntervals([TOPIC])
    intervals.topics[TOPIC].add(START, names, [], [], efforts)
    assert motion(intervals, 1).names == ()
    assert fault in intervals.topics[TOPIC].fault


def test_what_is_stated_less_often_than_the_policy_decides_is_known() -> None:
    means = np.ones((12, 3))
    means[::2, 1] = np.nan
    means[:, 2] = np.nan
    names = ("arm/position", "slow/position", "unrecorded/position")
    motions = [JointMotion(names, np.ones((12, 3)), means)]
    assert seldom_stated(motions, names) == ("slow/position",)
