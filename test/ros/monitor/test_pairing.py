# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of decisions become whole ones by their exact stamp, and no action chunks get lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.ros.monitor.pairing import (
    MAX_WAITING_CHUNKS,
    OTHER_STAMPS,
    DecisionPairing,
    Pair,
    Unpaired,
)

CAPACITY = 10


def settled(pairing, *parts):
    """Add parts (kind, stamp); chunks have their stamp as number. Return what became of them."""
    outcomes = []
    for kind, stamp in parts:
        if kind == "e":
            outcomes += pairing.add_embedding(stamp, f"e{stamp}")
        else:
            outcomes += pairing.add_chunks(stamp, stamp, f"c{stamp}")
    return [
        (one.number, f"{one.embedding} {one.chunks}" if isinstance(one, Pair) else one.why)
        for one in outcomes
    ]


def test_either_part_may_come_first():
    pairing = DecisionPairing(CAPACITY)
    assert settled(pairing, ("e", 1), ("c", 1), ("c", 2), ("e", 2)) == [(1, "e1 c1"), (2, "e2 c2")]


def test_stamp_that_is_off_by_a_nanosecond_does_not_pair():
    pairing = DecisionPairing(CAPACITY)
    assert settled(pairing, ("e", 1_000_000_000), ("c", 1_000_000_001)) == []
    assert settled(pairing, ("e", 1_000_000_002)) == [(1_000_000_001, OTHER_STAMPS)]


def test_chunks_are_given_up_as_soon_as_a_later_embedding_has_come():
    pairing = DecisionPairing(CAPACITY)
    assert settled(pairing, ("c", 1), ("c", 2), ("e", 3)) == [(1, OTHER_STAMPS), (2, OTHER_STAMPS)]
    assert settled(pairing, ("c", 3)) == [(3, "e3 c3")]
    assert pairing.unpaired == 2


def test_a_policy_may_embed_observations_of_which_it_makes_no_decision():
    pairing = DecisionPairing(CAPACITY)
    embeddings = [("e", stamp) for stamp in range(1, 8)]
    assert settled(pairing, *embeddings, ("c", 3), ("c", 7)) == [(3, "e3 c3"), (7, "e7 c7")]
    assert pairing.unpaired == 5


def test_embeddings_that_are_too_many_are_the_reason():
    pairing = DecisionPairing(CAPACITY)
    embeddings = [("e", stamp) for stamp in range(CAPACITY + 3)]
    ((number, why),) = settled(pairing, *embeddings, ("c", 0))
    assert (number, pairing.unpaired) == (0, 4)
    assert why.startswith("more than 10 embeddings came between its own and its action chunks")
    assert settled(pairing, ("c", CAPACITY)) == [(CAPACITY, f"e{CAPACITY} c{CAPACITY}")]


def test_chunks_without_any_embedding_are_bounded():
    pairing = DecisionPairing(CAPACITY)
    chunks = [("c", stamp) for stamp in range(MAX_WAITING_CHUNKS + 2)]
    assert settled(pairing, *chunks) == [(0, OTHER_STAMPS), (1, OTHER_STAMPS)]


def test_rollout_may_start_with_older_stamps():
    pairing = DecisionPairing(CAPACITY)
    settled(pairing, ("e", 9), ("c", 9))
    pairing.start_rollout()
    assert settled(pairing, ("e", 1), ("c", 1)) == [(1, "e1 c1")]


def test_a_decision_that_is_half_there_when_a_rollout_starts_is_an_old_one():
    pairing = DecisionPairing(CAPACITY)
    settled(pairing, ("e", 4), ("c", 5), ("e", 5), ("e", 6), ("c", 7))
    pairing.start_rollout()
    assert [pairing.is_old(stamp) for stamp in (4, 5, 6, 7)] == [False, False, True, False]
    assert settled(pairing, ("e", 7), ("c", 8), ("e", 8)) == [(8, "e8 c8")]
    # A recording that starts again brings the whole decision once more.
    pairing.start_rollout()
    settled(pairing, ("e", 6))
    assert not pairing.is_old(6)


def test_restart_in_the_middle_of_a_rollout_gives_up_what_waits():
    pairing = DecisionPairing(CAPACITY)
    settled(pairing, ("e", 9), ("c", 10), ("c", 11))
    assert [(one.number, one.why) for one in pairing.restart("why")] == [(10, "why"), (11, "why")]
    assert settled(pairing, ("e", 1), ("c", 1)) == [(1, "e1 c1")]


@pytest.mark.law(6)
@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.randoms(use_true_random=False))
def test_all_chunks_come_out_once_and_in_order(embeddings, chunks, random):
    """Both topics keep their order; how they mix is arbitrary."""
    parts = {"e": sorted(embeddings), "c": sorted(chunks)}
    pairing, outcomes = DecisionPairing(100), []
    while any(parts.values()):
        kind = random.choice([kind for kind, stamps in parts.items() if stamps])
        stamp = parts[kind].pop(0)
        if kind == "e":
            outcomes += pairing.add_embedding(stamp, stamp)
        else:
            outcomes += pairing.add_chunks(stamp, stamp, stamp)
    outcomes += pairing.restart("the test ends")
    assert [one.number for one in outcomes] == sorted(chunks)
    for one in outcomes:
        if isinstance(one, Unpaired):
            assert one.number not in embeddings
        else:
            assert one.stamp == one.embedding == one.chunks == one.number
    assert {one.number for one in outcomes if isinstance(one, Pair)} == embeddings & chunks
