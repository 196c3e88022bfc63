# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a bag gives, and that no bag gives half a rollout."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from testbed.bags import (
    ACTIVE,
    BEGIN,
    CHUNKS,
    EMBEDDING,
    PERIOD,
    SUCCESS,
    BagBuilder,
    decision_arrays,
    point_field,
    write_bag,
)

from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.point_cloud import PointCloudError
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError, Topics

STORAGES = ("mcap", "mcap uncompressed", "sqlite3")


def read_one(path: Path, topics: Topics | None = None):
    (rollout,) = read_rollouts([path], topics).rollouts
    return rollout


def refusal(path: Path) -> str:
    with pytest.raises(FailureMonitorError) as refused:
        read_rollouts([path])
    return str(refused.value)


def storage_of(bag: Path) -> Path:
    return next(path for path in bag.iterdir() if path.suffix in (".mcap", ".db3"))


@pytest.mark.parametrize("storage", STORAGES)
def test_a_bag_gives_the_decisions_that_were_recorded(tmp_path: Path, storage: str) -> None:
    embeddings, chunks = decision_arrays(8, seed=3)
    bag = write_bag(tmp_path / "bag", 8, storage=storage, seed=3)
    rollout = read_one(bag)
    np.testing.assert_array_equal(rollout.embeddings, embeddings)
    np.testing.assert_array_equal(rollout.chunks, chunks)
    np.testing.assert_allclose(np.diff(rollout.stamps), 0.1, atol=1e-6)
    assert (rollout.name, rollout.source, rollout.success) == ("bag", str(bag), True)


def test_the_arrays_outlive_the_bag_and_can_be_written(tmp_path: Path) -> None:
    rollout = read_one(write_bag(tmp_path / "bag"))
    rollout.embeddings[0, 0] = 7
    rollout.chunks[0, 0, 0, 0] = 7


def test_the_policy_format_comes_from_the_clouds(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", embedding_size=9, samples=2, horizon=3)
    policy = read_rollouts([tmp_path], action_kind="velocity", position_names=("dx", "dy")).policy
    assert (policy.embedding_size, policy.chunk_shape) == (9, (2, 3, 3))
    assert policy.action_names == ("dx", "dy", "gripper")
    assert (policy.action_kind, policy.position_names) == ("velocity", ("dx", "dy"))


@pytest.mark.parametrize("success", [True, False, None])
def test_the_outcome_is_what_the_bag_says_or_unknown(tmp_path: Path, success: bool | None) -> None:
    assert read_one(write_bag(tmp_path / "bag", success=success)).success is success


def test_the_outcome_of_the_rollout_before_does_not_count(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(1)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.flag(SUCCESS, True, BEGIN - 2)
        bag.flag(ACTIVE, True, BEGIN - 1)
        bag.embedding(embeddings[0], BEGIN)
        bag.chunks(chunks[0], BEGIN)
    assert read_one(tmp_path / "bag").success is None


def test_the_last_outcome_counts(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(1)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.embedding(embeddings[0], BEGIN)
        bag.chunks(chunks[0], BEGIN)
        bag.flag(SUCCESS, True, BEGIN + 1)
        bag.flag(SUCCESS, False, BEGIN + 2)
    assert read_one(tmp_path / "bag").success is False


@pytest.mark.parametrize("closed", [True, False])
def test_only_decisions_while_the_rollout_is_active_count(tmp_path: Path, closed: bool) -> None:
    embeddings, chunks = decision_arrays(6)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.flag(ACTIVE, False, BEGIN - 1)
        for index in range(6):
            if index == 2:
                bag.flag(ACTIVE, True, BEGIN + index * PERIOD - 1)
            if index == 5 and closed:
                bag.flag(ACTIVE, False, BEGIN + index * PERIOD - 1)
            bag.embedding(embeddings[index], BEGIN + index * PERIOD)
            bag.chunks(chunks[index], BEGIN + index * PERIOD)
    expected = embeddings[2:5] if closed else embeddings[2:]
    np.testing.assert_array_equal(read_one(tmp_path / "bag").embeddings, expected)


def test_decisions_are_paired_by_stamp_and_ordered_by_it(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(5)
    with BagBuilder(tmp_path / "bag") as bag:
        for place, index in enumerate([2, 0, 1, 4, 3]):
            bag.embedding(embeddings[index], BEGIN + index * PERIOD, received=BEGIN + place)
        for place, index in enumerate([1, 0, 3, 2, 4]):
            bag.chunks(chunks[index], BEGIN + index * PERIOD, received=BEGIN + 10 + place)
    rollout = read_one(tmp_path / "bag")
    np.testing.assert_array_equal(rollout.embeddings, embeddings)
    np.testing.assert_array_equal(rollout.chunks, chunks)


def test_lost_and_repeated_messages_are_counted_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embeddings, chunks = decision_arrays(6)
    with BagBuilder(tmp_path / "bag") as bag:
        for index in range(6):
            if index != 1:
                bag.embedding(embeddings[index], BEGIN + index * PERIOD)
            if index not in (2, 3):
                bag.chunks(chunks[index], BEGIN + index * PERIOD)
        bag.embedding(-embeddings[4], BEGIN + 4 * PERIOD, received=BEGIN + 9 * PERIOD)
    rollout = read_one(tmp_path / "bag")
    np.testing.assert_array_equal(rollout.embeddings, embeddings[[0, 4, 5]])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "3 messages without a partner" in record.message
    assert "1 with the stamp of an earlier one" in record.message


def test_a_whole_bag_gives_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_one(write_bag(tmp_path / "bag"))
    assert not caplog.records


def test_topics_can_have_other_names(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", success=False)
    assert read_one(bag, Topics(success="/none")).success is None
    with pytest.raises(SourceError, match="no topic /e and no /a"):
        read_rollouts([bag], Topics(embedding="/e", action_chunks="/a"))


def test_a_path_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")


def test_something_that_is_no_bag_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "notes.txt"):
        assert str(path) in refusal(path)
        assert "rosbag2 folder" in refusal(path)


def test_a_bag_without_the_topics_is_refused_with_those_it_has(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        bag.embedding(np.zeros(3, np.float32), BEGIN)
        bag.flag("/other", True, BEGIN)
    message = refusal(tmp_path / "bag")
    assert "no topic /policy/action_chunks, " in message
    assert "/other (std_msgs/msg/Bool)" in message
    assert "/policy/embedding (sensor_msgs/msg/PointCloud2)" in message


@pytest.mark.parametrize("topic", [EMBEDDING, CHUNKS])
def test_a_topic_of_another_type_is_refused_by_name(tmp_path: Path, topic: str) -> None:
    embeddings, chunks = decision_arrays(1)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.flag(topic, True, BEGIN)
        if topic == EMBEDDING:
            bag.chunks(chunks[0], BEGIN)
        else:
            bag.embedding(embeddings[0], BEGIN)
    message = refusal(tmp_path / "bag")
    assert f"{topic} is a std_msgs/msg/Bool, expected a sensor_msgs/msg/PointCloud2" in message


@pytest.mark.parametrize("storage", STORAGES)
def test_an_empty_bag_is_refused_by_name(tmp_path: Path, storage: str) -> None:
    with BagBuilder(tmp_path / "bag", storage) as bag:
        bag.topic(EMBEDDING, "sensor_msgs/msg/PointCloud2")
    message = refusal(tmp_path / "bag")
    assert str(tmp_path / "bag") in message
    assert "holds no messages" in message


def test_a_bag_without_messages_on_a_topic_is_refused_by_its_name(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        bag.topic(CHUNKS, "sensor_msgs/msg/PointCloud2")
        bag.embedding(np.zeros(3, np.float32), BEGIN)
    assert f"no message on {CHUNKS}" in refusal(tmp_path / "bag")


def test_a_bag_whose_stamps_never_agree_is_refused(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(3)
    with BagBuilder(tmp_path / "bag") as bag:
        for index in range(3):
            bag.embedding(embeddings[index], BEGIN + index * PERIOD)
            bag.chunks(chunks[index], BEGIN + index * PERIOD + 1)
    assert "stamp of the observation" in refusal(tmp_path / "bag")


def test_messages_without_stamps_are_refused(tmp_path: Path) -> None:
    embeddings, _ = decision_arrays(2)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.topic(CHUNKS, "sensor_msgs/msg/PointCloud2")
        bag.embedding(embeddings[0], 0, received=BEGIN)
        bag.embedding(embeddings[1], 0, received=BEGIN + 1)
    assert f"{EMBEDDING}, message 0: the header has no stamp" in refusal(tmp_path / "bag")


def test_a_bag_that_was_never_active_is_refused(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(1)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.embedding(embeddings[0], BEGIN)
        bag.chunks(chunks[0], BEGIN)
        bag.flag(ACTIVE, False, BEGIN + 1)
    assert f"{ACTIVE} is never true" in refusal(tmp_path / "bag")


def test_a_bag_whose_decisions_all_come_before_the_rollout_is_refused(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(1)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.embedding(embeddings[0], BEGIN)
        bag.chunks(chunks[0], BEGIN)
        bag.flag(ACTIVE, True, BEGIN + 1)
    assert "none of its 1 decisions" in refusal(tmp_path / "bag")


def test_a_layout_error_names_bag_topic_and_message(tmp_path: Path) -> None:
    embeddings, _ = decision_arrays(2)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.topic(CHUNKS, "sensor_msgs/msg/PointCloud2")
        bag.embedding(embeddings[0], BEGIN)
        bag.embedding(embeddings[1], BEGIN + 1, fields=[point_field("x", 0)])
    with pytest.raises(PointCloudError, match=re.escape(f"bag, {EMBEDDING}, message 1: ")):
        read_rollouts([tmp_path / "bag"])


def test_a_format_that_changes_within_a_bag_is_refused_by_message(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(2)
    with BagBuilder(tmp_path / "sizes") as bag:
        bag.topic(CHUNKS, "sensor_msgs/msg/PointCloud2")
        bag.embedding(embeddings[0], BEGIN)
        bag.embedding(embeddings[1, :4], BEGIN + 1)
    assert f"{EMBEDDING}, message 1: the shape is (4,), but was (6,) before" in refusal(
        tmp_path / "sizes"
    )
    with BagBuilder(tmp_path / "names") as bag:
        bag.topic(EMBEDDING, "sensor_msgs/msg/PointCloud2")
        bag.chunks(chunks[0], BEGIN)
        bag.chunks(chunks[1], BEGIN + 1, names=("dx", "dz", "gripper"))
    assert f"{CHUNKS}, message 1: the actions are" in refusal(tmp_path / "names")


def test_bytes_that_are_no_message_are_refused_by_number(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        bag.topic(CHUNKS, "sensor_msgs/msg/PointCloud2")
        bag.embedding(np.zeros(3, np.float32), BEGIN)
        bag.write_bytes(EMBEDDING, "sensor_msgs/msg/PointCloud2", b"\0\1\0\0nonsense", BEGIN + 1)
    assert f"{EMBEDDING}, message 1: " in refusal(tmp_path / "bag")


@pytest.mark.parametrize("storage", STORAGES)
def test_a_truncated_bag_is_refused_by_name(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "bag", 40, storage=storage)
    file = storage_of(bag)
    whole = file.read_bytes()
    ends = {0, 1, 8, 9, 40, 100, *(len(whole) - rest for rest in (1, 7, 8, 9, 37, 38, 100))}
    for size in sorted(ends | set(range(0, len(whole), len(whole) // 40))):
        file.write_bytes(whole[:size])
        message = refusal(bag)
        assert message.startswith(f"{bag}: the bag is damaged"), size
        assert f"{file.name} is truncated after {size} bytes" in message
        assert "\n" not in message
    file.write_bytes(whole)
    assert len(read_one(bag)) == 40


@pytest.mark.parametrize("storage", ["mcap", "mcap uncompressed"])
def test_a_truncated_bag_says_what_is_readable(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "bag", 120, storage=storage, samples=64, horizon=16)
    file = storage_of(bag)
    whole = file.read_bytes()
    readable = []
    for size in range(len(whole) // 20, len(whole), len(whole) // 20):
        file.write_bytes(whole[:size])
        message = refusal(bag)
        match = re.search(r"readable until ([\d.]+) s, (\d+) decisions", message)
        assert match or "no decision of it is readable" in message
        readable.append(int(match[2]) if match else 0)
        if match:
            assert float(match[1]) == pytest.approx(0.1 * int(match[2]), abs=0.11)
    assert readable == sorted(readable)
    assert any(0 < decisions < 120 for decisions in readable)


def test_a_bag_without_metadata_is_refused_and_what_is_readable_said(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 12)
    (bag / "metadata.yaml").unlink()
    message = refusal(bag)
    assert "metadata.yaml is missing" in message
    assert "readable until 1.2 s, 12 decisions" in message
    assert "ros2 bag reindex" in message


def test_half_of_the_metadata_never_gives_a_rollout(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 3)
    metadata = bag / "metadata.yaml"
    whole = metadata.read_text()
    for size in range(0, len(whole) - 1, 11):
        metadata.write_text(whole[:size])
        message = refusal(bag)
        assert str(bag) in message
        assert "\n" not in message


def test_a_missing_storage_file_is_refused(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    storage_of(bag).unlink()
    message = refusal(bag)
    assert message.startswith(f"{bag}: the bag is damaged")
    assert "missing" in message


def test_metadata_that_count_more_messages_than_there_are_are_refused(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 8)
    metadata = bag / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("message_count: 8\n", "message_count: 9\n"))
    assert "counts 9 messages on /policy/" in refusal(bag)
