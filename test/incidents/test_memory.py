# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The memory of the last seconds: bounded in time and bytes, whatever comes."""

from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.incidents.memory import OVERHEAD, IncidentMemory, RecordedMessage


def message(topic: str, received: float, data: bytes = b"x") -> RecordedMessage:
    return RecordedMessage(topic, "std_msgs/msg/Bool", received, round(1e9 * received), data)


def said(memory: IncidentMemory) -> list[bytes]:
    return [kept.data for kept in memory.snapshot()]


streams = st.lists(
    st.tuples(
        st.sampled_from(["/camera", "/joints", "/tf_static"]),
        st.floats(0.0, 2.0),
        st.binary(max_size=3000),
    ),
    max_size=60,
)


@given(streams, st.floats(0.1, 5.0), st.integers(300, 8000))
def test_memory_holds_the_newest_that_fit_in_seconds_and_bytes(stream, seconds, budget):
    memory, now, heard = IncidentMemory(seconds, budget), 0.0, []
    for topic, pause, data in stream:
        now += pause
        heard.append(message(topic, now, data))
        memory.add(heard[-1])
        kept = memory.snapshot()
        assert memory.held_bytes == sum(one.cost for one in kept) <= budget
        assert all(now - one.received <= seconds for one in kept)
        fitting = [one for one in heard if one.cost <= budget]
        assert kept == fitting[len(fitting) - len(kept) :]


def test_memory_forgets_no_sooner_than_it_must():
    memory = IncidentMemory(10.0, 3 * (OVERHEAD + 1))
    for second in (0.0, 5.0, 10.0):
        memory.add(message("/a", second, bytes([round(second)])))
    assert said(memory) == [b"\x00", b"\x05", b"\x0a"]
    memory.expire(10.1)
    assert said(memory) == [b"\x05", b"\x0a"]


def test_message_larger_than_the_memory_is_counted_and_displaces_nothing():
    memory = IncidentMemory(10.0, 1000)
    memory.add(message("/a", 0.0, b"small"))
    memory.add(message("/a", 0.1, bytes(1000)))
    assert said(memory) == [b"small"]
    assert memory.too_large == 1


def test_too_small_a_budget_is_told():
    memory = IncidentMemory(10.0, 1000)
    memory.add(message("/a", 0.0, bytes(500)))
    assert not memory.is_short
    memory.add(message("/a", 0.1, bytes(500)))
    assert memory.is_short
    assert memory.held_seconds(0.3) == 0.3 - 0.1


def test_last_latched_message_of_every_publisher_outlives_the_window():
    memory = IncidentMemory(1.0, 10_000)
    memory.latch("/tf_static", 2)
    for second, data in ((0.0, b"arm"), (0.1, b"camera"), (0.2, b"arm")):
        memory.add(message("/tf_static", second, data))
    memory.add(message("/joints", 50.0, b"joints"))
    assert sorted(said(memory)) == [b"arm", b"camera", b"joints"]
    memory.add(message("/tf_static", 50.1, b"gripper"))
    memory.expire(60.0)
    assert said(memory) == [b"arm", b"gripper"]
    assert memory.held_bytes == sum(one.cost for one in memory.snapshot())


def test_latched_messages_come_just_before_the_window_in_their_order():
    memory = IncidentMemory(1.0, 10_000)
    for topic in ("/active", "/success"):
        memory.latch(topic, 1)
    # The outcome of one rollout, and the start of the next, which it is not the outcome of.
    memory.add(message("/active", 0.0))
    memory.add(message("/success", 1.0))
    memory.add(message("/active", 2.0, b"again"))
    memory.add(message("/joints", 50.0))
    memory.add(message("/joints", 50.5))
    assert [(one.topic, one.nanoseconds - 50_000_000_000) for one in memory.snapshot()] == [
        ("/success", -2),
        ("/active", -1),
        ("/joints", 0),
        ("/joints", 500_000_000),
    ]


def test_nothing_but_latched_messages_survives_the_begin_of_a_rollout():
    memory = IncidentMemory(10.0, 10_000)
    memory.latch("/tf_static", 1)
    memory.add(message("/tf_static", 0.0, b"arm"))
    memory.add(message("/joints", 1.0, b"joints"))
    assert not memory.is_whole
    memory.forget()
    assert said(memory) == [b"arm"]
    memory.add(message("/joints", 2.0, b"new"))
    assert memory.is_whole
    memory.expire(20.0)
    assert not memory.is_whole
