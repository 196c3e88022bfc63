# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""StampedArrays of decisions become whole ones by their exact stamp."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.ros.monitor.pairing import DecisionPairing

CAPACITY = 10

EMBEDDING = np.zeros(2, np.float32)
CHUNKS = np.zeros((1, 1, 1), np.float32)


def test_either_half_may_come_first():
    pairing = DecisionPairing(CAPACITY)
    assert pairing.add_embedding(1, EMBEDDING) is None
    assert pairing.add_chunks(1, CHUNKS).stamp == 1
    assert pairing.add_chunks(2, CHUNKS) is None
    assert pairing.add_embedding(2, EMBEDDING).stamp == 2


def test_a_stamp_that_is_off_by_a_nanosecond_does_not_pair():
    pairing = DecisionPairing(CAPACITY)
    assert pairing.add_embedding(1_000_000_000, EMBEDDING) is None
    assert pairing.add_chunks(1_000_000_001, CHUNKS) is None


def test_what_comes_after_a_newer_decision_is_counted_and_dropped():
    pairing = DecisionPairing(CAPACITY)
    pairing.add_embedding(5, EMBEDDING)
    pairing.add_chunks(5, CHUNKS)
    assert pairing.add_embedding(4, EMBEDDING) is None
    assert pairing.add_chunks(4, CHUNKS) is None


def test_halves_whose_other_half_never_comes_are_counted_and_forgotten():
    pairing = DecisionPairing(CAPACITY)
    for stamp in range(CAPACITY + 3):
        pairing.add_embedding(stamp, EMBEDDING)
    assert pairing.unpaired == 3
    assert pairing.add_chunks(0, CHUNKS) is None
    assert pairing.add_chunks(CAPACITY, CHUNKS) is not None


def test_a_pair_tells_how_many_decisions_before_it_lacked_a_half():
    pairing = DecisionPairing(CAPACITY)
    pairing.add_chunks(1, CHUNKS)
    pairing.add_chunks(2, CHUNKS)
    pairing.add_embedding(3, EMBEDDING)
    assert pairing.add_chunks(3, CHUNKS).missed == 2
    pairing.add_embedding(4, EMBEDDING)
    assert pairing.add_chunks(4, CHUNKS).missed == 0
    assert pairing.unpaired == 2


def test_chunks_that_wait_in_a_row_are_stuck():
    pairing = DecisionPairing(CAPACITY)
    for stamp in range(1, 4):
        assert not pairing.is_stuck
        pairing.add_embedding(2 * stamp, EMBEDDING)
        pairing.add_chunks(2 * stamp + 1, CHUNKS)
    assert pairing.is_stuck
    pairing.add_embedding(7, EMBEDDING)
    assert not pairing.is_stuck


def test_embeddings_of_which_no_decision_is_made_are_none():
    pairing = DecisionPairing(CAPACITY)
    for stamp in range(1, 4):
        pairing.add_embedding(stamp, EMBEDDING)
    assert pairing.add_chunks(3, CHUNKS).missed == 0
    assert pairing.unpaired == 2


def test_a_new_rollout_may_begin_with_older_stamps():
    pairing = DecisionPairing(CAPACITY)
    pairing.add_embedding(9, EMBEDDING)
    pairing.add_chunks(9, CHUNKS)
    pairing.start_rollout()
    pairing.add_embedding(1, EMBEDDING)
    assert pairing.add_chunks(1, CHUNKS) is not None


@given(st.lists(st.tuples(st.sampled_from(["embedding", "chunks"]), st.integers(0, 20))))
def test_decisions_come_out_once_and_in_order(halves):
    pairing = DecisionPairing(CAPACITY)
    values = {"embedding": EMBEDDING, "chunks": CHUNKS}
    stamps = []
    for half, stamp in halves:
        pair = getattr(pairing, f"add_{half}")(stamp, values[half])
        if pair is not None:
            assert (pair.embedding is EMBEDDING, pair.chunks is CHUNKS) == (True, True)
            stamps.append(pair.stamp)
    assert stamps == sorted(set(stamps))
