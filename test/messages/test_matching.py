# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of one moment become an observation, and of all others it is known what became."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.messages.matching import (
    CLOCK_JUMP,
    FRAMES_KEPT,
    JOINT_STATES_KEPT,
    MatchedMessages,
    ObservationMatcher,
    ObservationMatchingError,
)

MS = 1_000_000
START = 1_700_000_000_000_000_000


def matcher(*cameras: str, joints: bool = False, tolerance: float = 0.010) -> ObservationMatcher:
    return ObservationMatcher(cameras, joints=joints, tolerance=tolerance)


def stamps(observation: MatchedMessages) -> dict[str, float]:
    """The milliseconds at which its messages were made; every message is its own stamp."""
    return {name: (stamp - START) / MS for name, stamp in observation.messages.items()}


def feed(matching: ObservationMatcher, *messages: tuple[str, float]) -> list[dict[str, float]]:
    """What comes out for messages of these streams and milliseconds."""
    out = [
        matching.add(name, START + round(ms * MS), START + round(ms * MS)) for name, ms in messages
    ]
    return [stamps(observation) for observation in out if observation is not None]


# What is matched


def test_a_camera_alone_is_an_observation_at_once():
    assert feed(matcher("front"), ("front", 1), ("front", 2)) == [{"front": 1}, {"front": 2}]


def test_joints_alone_are_an_observation():
    assert feed(matcher(joints=True), ("joints", 5)) == [{"joints": 5}]


def test_an_observation_has_the_stamp_of_the_first_camera():
    matching = matcher("front", "wrist")
    matching.add("wrist", START + 4 * MS, "w")
    observation = matching.add("front", START, "f")
    assert observation.stamp == START
    assert observation.messages == {"front": "f", "wrist": "w"}


def test_whichever_comes_last_completes_it():
    assert feed(matcher("front", "wrist"), ("front", 0), ("wrist", 3)) == [
        {"front": 0, "wrist": 3}
    ]
    assert feed(matcher("front", "wrist"), ("wrist", 3), ("front", 0)) == [
        {"front": 0, "wrist": 3}
    ]


def test_the_nearest_message_is_taken():
    messages = [("joints", ms) for ms in (1, 3, 5, 7, 9)]
    assert feed(matcher("front", joints=True), *messages, ("front", 5.9)) == [
        {"front": 5.9, "joints": 5}
    ]


def test_a_message_may_serve_two_observations():
    out = feed(matcher("front", "wrist"), ("wrist", 5), ("front", 2), ("front", 8))
    assert out == [{"front": 2, "wrist": 5}, {"front": 8, "wrist": 5}]


def test_messages_of_a_stream_may_come_out_of_order():
    messages = ("wrist", 20), ("wrist", 10), ("front", 11), ("front", 19)
    assert feed(matcher("front", "wrist", tolerance=0.002), *messages) == [
        {"front": 11, "wrist": 10},
        {"front": 19, "wrist": 20},
    ]


@pytest.mark.parametrize(("offset", "matches"), [(10, True), (10.001, False), (-10.001, False)])
def test_the_tolerance_is_kept_to_the_nanosecond(offset: float, matches: bool):
    assert bool(feed(matcher("front", "wrist"), ("front", 50), ("wrist", 50 + offset))) == matches


def test_images_that_come_late_find_the_joints_of_their_time():
    # A camera at 30 Hz whose images arrive 200 ms after they were made, joints at 500 Hz.
    matching = matcher("front", joints=True, tolerance=0.002)
    events = [(2 * k, "joints", 2 * k) for k in range(1, 1500)]
    events += [(33 * k + 200, "front", 33 * k) for k in range(1, 80)]
    out = feed(matching, *((name, ms) for _, name, ms in sorted(events)))
    assert len(out) == 79
    assert all(abs(o["front"] - o["joints"]) <= 1 for o in out)
    assert not matching.problems()


# What is not


def test_the_newest_of_two_that_are_complete_at_once_wins():
    matching = matcher("front", "wrist")
    assert feed(matching, ("front", 0), ("front", 8), ("wrist", 5)) == [{"front": 8, "wrist": 5}]
    assert matching.superseded == 1
    assert matching.problems() == [
        "1 observations were complete no sooner than a newer one: a stream is slow"
    ]


def test_what_is_older_than_what_was_given_out_is_late():
    matching = matcher("front", "wrist")
    feed(matching, ("wrist", 50), ("front", 50), ("front", 40), ("front", 50), ("wrist", 30))
    assert matching.counts["front"].late == 2
    assert matching.counts["wrist"].late == 1
    assert "2 of 3 messages of 'front' arrived too late" in matching.problems()[0]


def test_a_stream_that_never_comes_is_named():
    matching = matcher("front", "wrist")
    feed(matching, *(("front", 33 * k) for k in range(FRAMES_KEPT + 3)))
    assert matching.counts["wrist"].missing == 3
    assert matching.problems() == [
        "3 of 19 messages of 'front' had none of 'wrist' within 0.01 s: no usable message of it "
        "has arrived; check its topic"
    ]


def test_a_stream_that_is_off_by_more_than_the_tolerance_is_named_with_its_distance():
    matching = matcher("front", "wrist")
    for k in range(FRAMES_KEPT + 5):
        assert not feed(matching, ("front", 33 * k), ("wrist", 33 * k + 16))
    (problem,) = matching.problems()
    assert (
        "of 'front' had none of 'wrist' within 0.01 s; last the nearest was 0.016 s off" in problem
    )
    assert "raise the tolerance" in problem


def test_a_stream_that_stops_is_named():
    matching = matcher("front", joints=True)
    feed(matching, ("joints", 0), ("front", 0), *(("front", 33 * k) for k in range(1, 80)))
    assert matching.counts["joints"].missing == 79 - FRAMES_KEPT
    assert "nor within 1 s: it has stopped" in matching.problems()[0]


def test_a_message_without_a_stamp_is_of_no_use_and_counted():
    matching = matcher("front")
    assert matching.add("front", 0, "f") is None
    assert matching.problems() == [
        "1 of 1 messages of 'front' have a stamp of 0: have the driver stamp them"
    ]


def test_a_clock_that_is_set_back_begins_anew():
    matching = matcher("front", "wrist")
    feed(matching, ("front", 5000), ("wrist", 5000))
    out = feed(matching, ("front", 10), ("wrist", 12), ("front", 40), ("wrist", 41))
    assert out == [{"front": 10, "wrist": 12}, {"front": 40, "wrist": 41}]
    assert matching.clock_jumps == 1
    assert "stamps went back by more than 1 s 1 times" in matching.problems()


def test_a_clock_that_is_set_back_in_small_steps_begins_anew_too():
    out = feed(matcher("front"), ("front", 5000), ("front", 4400), ("front", 3800))
    assert out == [{"front": 5000}, {"front": 3800}]


def test_one_stamp_from_the_future_does_not_stop_the_stream():
    matching = matcher("front")
    assert feed(matching, ("front", 0), ("front", 1e6), ("front", 33), ("front", 66)) == [
        {"front": 0},
        {"front": 1e6},
        {"front": 33},
        {"front": 66},
    ]


def test_a_new_rollout_may_begin_with_older_stamps():
    matching = matcher("front")
    feed(matching, ("front", 500))
    matching.clear()
    assert feed(matching, ("front", 100)) == [{"front": 100}]
    assert matching.clock_jumps == 0


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_a_tolerance_without_sense_is_refused(tolerance: float):
    with pytest.raises(ObservationMatchingError, match="cannot be matched within"):
        matcher("front", tolerance=tolerance)


def test_no_streams_are_refused():
    with pytest.raises(ObservationMatchingError, match="needs a camera or joints"):
        matcher()


# Laws, for messages in any order, with any of them lost

STREAMS = ("front", "wrist", "joints")


@dataclass(frozen=True)
class Message:
    stream: str
    stamp: int


@st.composite
def deliveries(draw: st.DrawFn) -> list[Message]:
    """Three streams of different periods, of which some messages are lost and some are late."""
    arrivals = []
    for stream in STREAMS:
        period = draw(st.sampled_from([2, 10, 33]))
        offset = draw(st.integers(0, 40))
        for index in range(draw(st.integers(0, 40))):
            if draw(st.booleans()) or draw(st.booleans()):
                stamp = START + (offset + period * index) * MS + draw(st.integers(-MS, MS))
                delay = draw(st.integers(0, 60)) * MS
                arrivals.append((stamp + delay, Message(stream, stamp)))
    return [message for _, message in sorted(arrivals, key=lambda arrival: arrival[0])]


def match(messages: Iterable[Message], tolerance: float) -> tuple[ObservationMatcher, list]:
    matching = matcher("front", "wrist", joints=True, tolerance=tolerance)
    out = [matching.add(message.stream, message.stamp, message) for message in messages]
    return matching, [observation for observation in out if observation is not None]


TOLERANCES = st.sampled_from([0.0, 0.001, 0.005, 0.02])


@given(deliveries(), TOLERANCES)
def test_observations_are_whole_within_the_tolerance_and_in_order(messages, tolerance):
    _, observations = match(messages, tolerance)
    for observation in observations:
        assert observation.messages.keys() == set(STREAMS)
        assert all(message.stream == name for name, message in observation.messages.items())
        assert observation.stamp == observation.messages["front"].stamp
        distances = [abs(m.stamp - observation.stamp) for m in observation.messages.values()]
        assert max(distances) <= tolerance * 1e9
    given_out = [observation.stamp for observation in observations]
    assert given_out == sorted(set(given_out))


@given(deliveries(), TOLERANCES)
def test_every_message_of_the_first_camera_is_accounted_for(messages, tolerance):
    matching, observations = match(messages, tolerance)
    front = matching.counts["front"]
    assert front.received == sum(message.stream == "front" for message in messages)
    # What is not known to be lost is one of the few that wait, or was missing in some stream.
    known = len(observations) + front.late + matching.superseded
    missing = [matching.counts[name].missing for name in ("wrist", "joints")]
    assert front.received - known - sum(missing) <= FRAMES_KEPT
    assert front.received - known - max(missing) >= 0


@given(deliveries(), TOLERANCES)
def test_an_observation_is_never_held_back(messages, tolerance):
    """Whenever all streams have a message of one moment that is not past, something comes out."""
    matching = matcher("front", "wrist", joints=True, tolerance=tolerance)
    seen: dict[str, list[int]] = {name: [] for name in STREAMS}
    newest = 0
    for message in messages:
        observation = matching.add(message.stream, message.stamp, message)
        seen[message.stream].append(message.stamp)
        complete = [
            stamp
            for stamp in seen["front"]
            if stamp > newest
            and all(
                any(abs(other - stamp) <= tolerance * 1e9 for other in seen[name])
                for name in STREAMS[1:]
            )
        ]
        if complete and all(len(stamps) <= FRAMES_KEPT for stamps in seen.values()):
            assert observation is not None
            assert observation.stamp == max(complete)
        if observation is not None:
            newest = observation.stamp


@given(deliveries(), TOLERANCES)
def test_the_same_messages_give_the_same_observations(messages, tolerance):
    first, second = (match(messages, tolerance)[1] for _ in range(2))
    assert [o.messages for o in first] == [o.messages for o in second]


@given(
    st.lists(st.tuples(st.sampled_from(STREAMS), st.integers(-5, 4 * CLOCK_JUMP)), max_size=200)
)
def test_any_stamps_at_all_leave_no_more_waiting_than_is_allowed(messages):
    matching, _ = match([Message(*message) for message in messages], 0.01)
    waiting = {name: len(left) for name, left in matching._waiting.items()}
    assert waiting["front"] <= FRAMES_KEPT
    assert waiting["wrist"] <= FRAMES_KEPT


def test_a_stream_that_nobody_matches_is_not_hoarded():
    matching = matcher("front", joints=True)
    feed(matching, *(("joints", 2 * k) for k in range(JOINT_STATES_KEPT + 100)))
    assert len(matching._waiting["joints"]) == JOINT_STATES_KEPT
