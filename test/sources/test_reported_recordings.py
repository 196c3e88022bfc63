# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings that users of rosbag2, mcap and their tools have reported, as small files."""

from __future__ import annotations

import io
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from backports import zstd
from testbed.bags import (
    ACTIVE,
    BEGIN,
    PERIOD,
    SECOND,
    STORE,
    BagBuilder,
    decision_arrays,
    join_bags,
    write_bag,
)
from testbed.raw_mcap import Message, Topic, rollout_messages, write_mcap

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.memory_bound import bounded_memory
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.rosbag import bag_summary
from failure_monitor.sources.source import Topics


def read_one(path: Path, topics: Topics | None = None):
    (rollout,) = read_rollouts([path], topics).rollouts
    return rollout


def is_whole(path: Path, decisions: int = 20) -> bool:
    embeddings, _ = decision_arrays(decisions)
    return np.array_equal(read_one(path).embeddings, embeddings)


def change_metadata(bag: Path, **changes: object) -> None:
    path = bag / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    content["rosbag2_bagfile_information"].update(changes)
    path.write_text(yaml.safe_dump(content))


def test_messages_on_both_sides_of_a_split_are_read_by_time(tmp_path: Path) -> None:
    # The last message of the first file was received after the first ones of the second.
    embeddings, chunks = decision_arrays(4)
    order = [[0, 1, 3], [2]]
    for part, indices in enumerate(order):
        with BagBuilder(tmp_path / f"part_{part}", "sqlite3") as bag:
            for index in indices:
                if index != 2:
                    bag.number("/score", index, BEGIN + index * PERIOD)
                bag.embedding(
                    embeddings[index], BEGIN + index * PERIOD, BEGIN + index * PERIOD + 1
                )
                bag.chunks(chunks[index], BEGIN + index * PERIOD, BEGIN + index * PERIOD + 2)
    bag = join_bags(tmp_path / "bag", [tmp_path / "part_0", tmp_path / "part_1"])
    rollout = read_one(bag, Topics(external={"score": "/score"}))
    assert rollout.external["score"].tolist() == [0, 1, 1, 3]


def test_a_message_that_was_resent_is_no_clock_set_back(tmp_path: Path) -> None:
    # The middleware's time of reception is that of the resent message, before which the others
    # had been received and waited for it.
    messages = rollout_messages()
    late = [
        Message(m.topic, m.content, m.received + 45 * PERIOD // 10) if i in (10, 11) else m
        for i, m in enumerate(messages)
    ]
    assert is_whole(write_mcap(tmp_path / "run.mcap", late))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_messages_of_one_time_are_read_in_the_order_in_which_they_were_written(
    tmp_path: Path, storage: str
) -> None:
    # A simulation's clock stands while several messages are recorded.
    embeddings, chunks = decision_arrays(6)
    with BagBuilder(tmp_path / "bag", storage) as bag:
        for index in range(6):
            time = BEGIN + index * PERIOD
            bag.number("/score", index, time)
            bag.chunks(chunks[index], time, time)
            bag.embedding(embeddings[index], time, time)
            bag.number("/score", -1.0, time)
    rollout = read_one(tmp_path / "bag", Topics(external={"score": "/score"}))
    assert rollout.external["score"].tolist() == list(range(6))


def test_the_duration_of_a_split_bag_is_not_that_of_its_last_file(tmp_path: Path) -> None:
    parts = []
    embeddings, chunks = decision_arrays(40)
    for part in range(4):
        with BagBuilder(tmp_path / f"part_{part}") as bag:
            for index in range(10 * part, 10 * part + 10):
                bag.embedding(embeddings[index], BEGIN + index * PERIOD)
                bag.chunks(chunks[index], BEGIN + index * PERIOD)
        parts.append(bag.path)
    bag = join_bags(tmp_path / "bag", parts)
    change_metadata(
        bag,
        duration={"nanoseconds": 9 * PERIOD},
        starting_time={"nanoseconds_since_epoch": BEGIN + 30 * PERIOD},
    )
    assert bag_summary(bag).seconds == pytest.approx(3.9)
    assert is_whole(bag, 40)


def test_tables_of_early_versions_have_fewer_columns(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 20, storage="sqlite3")
    with sqlite3.connect(bag / "bag.db3") as database:
        database.executescript(
            """DROP TABLE schema; DROP TABLE metadata; DROP TABLE message_definitions;
            DROP INDEX timestamp_idx;
            ALTER TABLE topics DROP COLUMN offered_qos_profiles;
            ALTER TABLE topics DROP COLUMN type_description_hash;
            ALTER TABLE topics DROP COLUMN serialization_format;"""
        )
    assert is_whole(bag)


def test_frames_of_zstd_need_not_state_their_size(tmp_path: Path) -> None:
    def stream(content: bytes) -> bytes:
        packed = io.BytesIO()
        with zstd.open(packed, "wb") as writer:
            for begin in range(0, len(content), 1000):
                writer.write(content[begin : begin + 1000])
        return packed.getvalue()

    path = tmp_path / "run.mcap"
    write_mcap(path, rollout_messages(), per_chunk=9, compression="zstd", compress=stream)
    assert is_whole(path)


def test_a_chunk_without_messages_has_no_time(tmp_path: Path) -> None:
    record = struct.pack("<BQ", 0x80, 3) + b"abc"
    content = struct.pack("<QQQI", 0, 0, len(record), 0) + struct.pack("<I", 0)
    content += struct.pack("<Q", len(record)) + record
    empty = struct.pack("<BQ", 0x06, len(content)) + content
    path = tmp_path / "run.mcap"
    write_mcap(path, rollout_messages(), per_chunk=9, data_end=empty)
    assert is_whole(path)
    assert bag_summary(path).seconds == pytest.approx(2.0, abs=0.01)


def test_a_channel_without_messages_may_lack_in_the_statistics(tmp_path: Path) -> None:
    path = write_mcap(
        tmp_path / "run.mcap", rollout_messages(), topics=[Topic("/transition_event")], per_chunk=9
    )
    assert is_whole(path)
    topics = {topic.name: topic.messages for topic in bag_summary(path).topics}
    assert topics["/transition_event"] == 0


@pytest.mark.parametrize("length", [(1 << 62) + 7, (1 << 31) + 7])
def test_a_cut_file_does_not_ask_for_all_memory(tmp_path: Path, length: int) -> None:
    path = write_mcap(tmp_path / "run.mcap", rollout_messages())
    whole = path.read_bytes()
    end = len(whole) // 2
    path.write_bytes(whole[:end] + struct.pack("<BQ", 5, length) + b"\x89MCAP0\r\n")
    with bounded_memory(64 << 20), pytest.raises(FailureMonitorError, match="is damaged"):
        read_rollouts([path])


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_split_bag_may_have_files_without_messages(tmp_path: Path, storage: str) -> None:
    embeddings, chunks = decision_arrays(20)
    parts = []
    for part in range(3):
        with BagBuilder(tmp_path / f"part_{part}", storage) as bag:
            bag.topic(ACTIVE, "std_msgs/msg/Bool")
            for index in range(20 if part == 1 else 0):
                bag.embedding(embeddings[index], BEGIN + index * PERIOD)
                bag.chunks(chunks[index], BEGIN + index * PERIOD)
        parts.append(bag.path)
    bag = join_bags(tmp_path / "bag", parts)
    assert is_whole(bag)
    assert bag_summary(bag).seconds == pytest.approx(1.9)


def test_bag_time_before_the_first_clock_is_0_and_harms_nothing(tmp_path: Path) -> None:
    messages = rollout_messages()
    early = Message(ACTIVE, STORE.types["std_msgs/msg/Bool"](data=True), 0)
    assert is_whole(write_mcap(tmp_path / "run.mcap", [early, *messages]))


def test_a_simulation_that_starts_at_0_is_read(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(20)
    with BagBuilder(tmp_path / "bag") as bag:
        for index in range(20):
            bag.embedding(embeddings[index], SECOND + index * PERIOD)
            bag.chunks(chunks[index], SECOND + index * PERIOD)
    assert is_whole(tmp_path / "bag")
