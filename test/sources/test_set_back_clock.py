# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A clock that was set back in a recording is told, and no other course of the rollout made up."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from testbed.bags import ACTIVE, BEGIN, PERIOD, SECOND, BagBuilder, decision_arrays, join_bags
from testbed.raw_mcap import rollout_messages, write_mcap

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.set_back_clock import Reception

SAID = re.compile(r"message \d+: .*(goes|go) back by [\d.]+ s.*clock.*was set back")


def write(
    path: Path,
    *,
    by: int,
    at: int = 10,
    count: int = 20,
    stamps: bool = True,
    bag_time: bool = False,
    storage: str = "sqlite3",
) -> Path:
    """A bag whose stamps, or bag time, or both go back in the middle."""
    embeddings, chunks = decision_arrays(count)
    with BagBuilder(path, storage) as bag:
        for index in range(count):
            back = by if index >= at else 0
            time = BEGIN + index * PERIOD
            stamp, received = time - back * stamps, time - back * bag_time
            bag.embedding(embeddings[index], stamp, received + 1)
            bag.chunks(chunks[index], stamp, received + 2)
    return path


def refusal(path: Path, **options) -> str:
    with pytest.raises(FailureMonitorError) as refused:
        read_rollouts([path], **options)
    return str(refused.value)


@pytest.mark.parametrize("storage", ["mcap", "mcap uncompressed", "sqlite3", "ros1"])
@pytest.mark.parametrize("by", [37 * SECOND // 100, 75 * SECOND // 100, 2 * SECOND, 3600 * SECOND])
@pytest.mark.parametrize("bag_time", [False, True])
def test_a_clock_set_back_in_a_rollout_is_refused(
    tmp_path: Path, by: int, bag_time: bool, storage: str
) -> None:
    path = tmp_path / "run.bag"
    message = refusal(write(path, by=by, bag_time=bag_time, storage=storage))
    assert SAID.search(message), message
    assert message.startswith(str(path))
    assert "damaged" not in message


def test_bag_time_alone_that_is_set_back_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", by=2 * SECOND, stamps=False, bag_time=True)
    assert SAID.search(refusal(path))


@pytest.mark.parametrize("per_chunk", [0, 7])
def test_a_clock_set_back_is_seen_in_chunks_and_rows(tmp_path: Path, per_chunk: int) -> None:
    messages = rollout_messages()
    half = len(messages) // 2
    # The later half was received before the earlier one, by the recorder's clock.
    path = write_mcap(
        tmp_path / "run.mcap", [*messages[half:], *messages[:half]], per_chunk=per_chunk
    )
    message = refusal(path)
    assert SAID.search(message)
    assert "'mcap sort'" in message


def test_a_clock_set_back_between_two_files_is_refused(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(20)
    parts = []
    for part in range(2):
        with BagBuilder(tmp_path / f"part_{part}") as bag:
            for index in range(10 * part, 10 * part + 10):
                stamp = BEGIN + index * PERIOD - part * 2 * SECOND
                bag.embedding(embeddings[index], stamp)
                bag.chunks(chunks[index], stamp)
        parts.append(bag.path)
    assert SAID.search(refusal(join_bags(tmp_path / "bag", parts)))


def test_stamps_may_start_again_with_a_rollout_but_not_repeat(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(20)
    for name, apart in (("apart", PERIOD // 2), ("same", 0)):
        with BagBuilder(tmp_path / name) as bag:
            for index in range(20):
                received = BEGIN + index * PERIOD
                stamp = SECOND + index % 10 * PERIOD + (index >= 10) * apart
                if index % 10 == 0:
                    bag.flag(ACTIVE, True, received - 1)
                bag.embedding(embeddings[index], stamp, received)
                bag.chunks(chunks[index], stamp, received + 1)
                if index % 10 == 9:
                    bag.flag(ACTIVE, False, received + 2)
    rollouts = read_rollouts([tmp_path / "apart"]).rollouts
    for number, rollout in enumerate(rollouts):
        np.testing.assert_array_equal(rollout.embeddings, embeddings[10 * number :][:10])
    assert SAID.search(refusal(tmp_path / "apart", boundaries="bag"))
    assert SAID.search(refusal(tmp_path / "apart", boundaries="pauses", pause=1.0))
    assert "message 10: its stamp goes back by 0.90 s to one" in refusal(tmp_path / "same")
    assert "record each rollout into a bag of its own" in refusal(tmp_path / "same")


def test_decisions_may_come_out_of_order_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "bag", by=SECOND // 4, count=20)
    embeddings, _ = decision_arrays(20)
    (rollout,) = read_rollouts([path]).rollouts
    assert "2 messages on /policy/embedding came later than one of a later stamp" in caplog.text
    assert len(rollout) == 20
    assert np.all(np.diff(rollout.stamps) > 0)
    np.testing.assert_array_equal(rollout.embeddings[:8], embeddings[:8])


@pytest.mark.parametrize(
    ("received", "message"),
    [
        ([], None),
        ([5], None),
        (range(20), None),
        # One that was written late or early, and neighbours that changed places.
        ([0, 1, 15, *range(2, 15), *range(16, 20)], None),
        ([0, *range(2, 15), 1, *range(15, 20)], None),
        ([1, 0, 3, 2, 5, 4, 7, 6, 9, 8], None),
        # Each of these is a clock that was set back.
        ([*range(10), *range(-10, 0)], 10),
        ([*range(10), *range(4, 14)], 10),
        ([*range(10), *range(8, 20)], 10),
        ([*range(10), *range(10), *range(10)], 10),
    ],
)
def test_what_is_a_clock_set_back_and_what_another_order(received, message: int | None) -> None:
    seen = Reception([SECOND * second for second in received], list(range(len(received))))
    found = seen.set_back()
    assert (found and found.message) == message
