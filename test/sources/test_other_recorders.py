# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Healthy bags of other recorders, versions and systems: read, or refused for what they are."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest
import yaml
from backports import zstd
from testbed.bags import (
    ACTIVE,
    BEGIN,
    CHUNKS,
    EMBEDDING,
    PERIOD,
    STORE,
    BagBuilder,
    decision_arrays,
    join_bags,
    write_bag,
)
from testbed.raw_mcap import Message, Topic, rollout_messages, write_mcap

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import Topics

CLOUD = "sensor_msgs/msg/PointCloud2"

UNKNOWN = {
    "action feedback": Topic(
        "/arm/_action/feedback", "control_msgs/action/Follow_FeedbackMessage", "unknown", b""
    ),
    "service event": Topic("/estop/_service_event", "std_srvs/srv/SetBool_Event", "unknown", b""),
    "json": Topic("/log", "Log", "jsonschema", b"{}", "json"),
    "protobuf": Topic("/log", "foxglove.Log", "protobuf", b"\x0a\xff\x00", "protobuf"),
    "ROS 1": Topic("/old", "std_msgs/String", "ros1msg", b"string data", "ros1"),
    "missing package": Topic("/foo", "my_msgs/msg/Foo", "", b""),
    "not UTF-8": Topic("/foo", "my_msgs/msg/Foo", "ros2msg", b"# caf\xe9\nint32 a\n"),
}


def read_one(path: Path, topics: Topics | None = None):
    (rollout,) = read_rollouts([path], topics).rollouts
    return rollout


def refusal(path: Path) -> str:
    with pytest.raises(FailureMonitorError) as refused:
        read_rollouts([path])
    assert str(refused.value).startswith(str(path))
    return str(refused.value)


def is_whole(path: Path, decisions: int = 20, *, seed: int = 0) -> bool:
    embeddings, _ = decision_arrays(decisions, seed=seed)
    return np.array_equal(read_one(path).embeddings, embeddings)


# Definitions


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_an_unrelated_topic_is_does_not_matter(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run.mcap"
    for per_chunk in (0, 7):
        write_mcap(path, rollout_messages(), topics=[UNKNOWN[kind]], per_chunk=per_chunk)
        assert is_whole(path)


@pytest.mark.parametrize(
    ("encoding", "definition"), [("", ""), ("unknown", ""), ("ros2msg", b"# caf\xe9"), ("x", "y")]
)
def test_what_an_unrelated_topic_in_a_database_is_does_not_matter(
    tmp_path: Path, encoding: str, definition: str | bytes
) -> None:
    bag = write_bag(tmp_path / "bag", 20, storage="sqlite3")
    with sqlite3.connect(bag / "bag.db3") as database:
        database.execute(
            "INSERT INTO topics VALUES(99, '/foo', 'my_msgs/msg/Foo', ?, '[', '')", ("",)
        )
        database.execute(
            "INSERT INTO message_definitions(topic_type, encoding, encoded_message_definition, "
            "type_description_hash) VALUES('my_msgs/msg/Foo', ?, CAST(? AS TEXT), '')",
            (encoding, definition),
        )
        database.execute("UPDATE message_definitions SET encoding = 'unknown'")
    assert is_whole(bag)


def test_a_topic_that_is_needed_is_read_without_its_definition(tmp_path: Path) -> None:
    needed = [Topic(name, CLOUD, "unknown", b"") for name in (EMBEDDING, CHUNKS)]
    assert is_whole(write_mcap(tmp_path / "run.mcap", rollout_messages(), topics=needed))


def test_a_topic_that_is_needed_and_serialised_otherwise_is_named(tmp_path: Path) -> None:
    needed = [Topic(EMBEDDING, CLOUD, "jsonschema", b"{}", "json")]
    message = refusal(write_mcap(tmp_path / "run.mcap", rollout_messages(), topics=needed))
    assert f"{EMBEDDING} is serialised as 'json', expected cdr" in message
    assert f"publish it as {CLOUD} and record it with ros2 bag" in message
    assert "damaged" not in message


def test_a_topic_that_is_needed_and_of_an_unknown_type_is_named(tmp_path: Path) -> None:
    needed = [Topic(EMBEDDING, "my_msgs/msg/Embedding", "unknown", b"")]
    message = refusal(write_mcap(tmp_path / "run.mcap", rollout_messages(), topics=needed))
    assert f"{EMBEDDING} is a my_msgs/msg/Embedding, expected a {CLOUD}" in message
    assert "--embedding-topic" in message


def test_ros1_messages_in_an_mcap_file_are_read(tmp_path: Path) -> None:
    types = {
        name: Topic(name, kind, "ros1msg", b"", "ros1")
        for name, kind in (
            (EMBEDDING, "sensor_msgs/PointCloud2"),
            (CHUNKS, "sensor_msgs/PointCloud2"),
            ("/rollout/success", "std_msgs/Bool"),
        )
    }
    path = write_mcap(
        tmp_path / "run.mcap",
        rollout_messages(),
        topics=[*types.values()],
        profile="ros1",
        message_encoding="ros1",
    )
    assert is_whole(path)


# Files


@pytest.mark.parametrize("profile", ["", "ros1", "x-robot"])
def test_a_profile_says_nothing(tmp_path: Path, profile: str) -> None:
    assert is_whole(write_mcap(tmp_path / "run.mcap", rollout_messages(), profile=profile))


@pytest.mark.parametrize("per_chunk", [0, 7])
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"has_summary": False},
        {"has_statistics": False},
        {"counts_channels": False},
    ],
)
def test_an_mcap_file_needs_no_index(
    tmp_path: Path, per_chunk: int, parts: dict[str, bool]
) -> None:
    path = tmp_path / "run.mcap"
    assert is_whole(write_mcap(path, rollout_messages(), per_chunk=per_chunk, **parts))


def test_records_of_later_versions_and_attachments_are_passed_over(tmp_path: Path) -> None:
    strange = b"\x09" + (300).to_bytes(8, "little") + bytes(300)
    strange += b"\x80" + (3).to_bytes(8, "little") + b"abc"
    assert is_whole(write_mcap(tmp_path / "run.mcap", rollout_messages(), data_end=strange))


def lz4_frames(content: bytes) -> bytes:
    half = len(content) // 2
    return lz4.frame.compress(content[:half]) + lz4.frame.compress(content[half:])


@pytest.mark.parametrize(
    ("compression", "compress"),
    [("", bytes), ("zstd", zstd.compress), ("lz4", lz4.frame.compress), ("lz4", lz4_frames)],
)
def test_chunks_are_read_however_they_are_compressed(
    tmp_path: Path, compression: str, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "run.mcap"
    assert is_whole(
        write_mcap(
            path, rollout_messages(), per_chunk=9, compression=compression, compress=compress
        )
    )


def test_an_unknown_compression_is_not_called_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    write_mcap(path, rollout_messages(), per_chunk=9, compression="brotli")
    message = refusal(path)
    assert "is compressed with 'brotli', expected zstd, lz4 or nothing" in message
    assert "damaged" not in message


@pytest.mark.parametrize("per_chunk", [0, 6])
@pytest.mark.parametrize(
    "disorder", ["a pair", "two far apart", "by topic", "shuffled", "reversed"]
)
def test_messages_are_read_in_whatever_order_they_were_written(
    tmp_path: Path, disorder: str, per_chunk: int
) -> None:
    messages = rollout_messages()
    if disorder == "a pair":
        messages[4], messages[7] = messages[7], messages[4]
    elif disorder == "two far apart":
        messages[4], messages[30] = messages[30], messages[4]
    elif disorder == "by topic":
        messages.sort(key=lambda message: message.topic)
    elif disorder == "shuffled":
        random.Random(1).shuffle(messages)
    else:
        messages.reverse()
    assert is_whole(write_mcap(tmp_path / "run.mcap", messages, per_chunk=per_chunk))


def test_a_record_that_reaches_beyond_the_file_is_damage(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "run.mcap", rollout_messages())
    content = bytearray(path.read_bytes())
    at = content.index(b"\x05", 2000)
    content[9:17] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(content)
    assert at
    assert "the bag is damaged" in refusal(path)


@pytest.mark.parametrize(
    ("storage", "remedy"),
    [
        ("mcap", "'mcap recover'"),
        ("sqlite3", "the '.recover' of sqlite3"),
        ("mcap file", "'zstd -d', then 'mcap recover'"),
    ],
)
def test_damage_inside_of_a_file_is_told_with_what_repairs_such_files(
    tmp_path: Path, storage: str, remedy: str
) -> None:
    bag = write_bag(tmp_path / "bag", 40, storage=storage)
    [file] = (file for file in bag.iterdir() if file.name != "metadata.yaml")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle - 600 : middle + 600] = b"\xa5" * 1200
    file.write_bytes(content)
    message = refusal(bag)
    assert message.endswith(f"or repair it with {remedy}"), message


def test_a_database_of_another_program_is_not_called_damage(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "contacts.db3") as database:
        database.execute("CREATE TABLE people(name TEXT)")
    message = refusal(tmp_path / "contacts.db3")
    assert "is a SQLite file, but none of rosbag2" in message
    assert "damaged" not in message


# Metadata


def change_metadata(bag: Path, **changes: Any) -> None:
    path = bag / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    content["rosbag2_bagfile_information"].update(changes)
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("version", [1, 4, 5, 8, 10, 42])
def test_metadata_of_every_version_are_read(tmp_path: Path, version: int) -> None:
    bag = write_bag(tmp_path / "bag", 20)
    change_metadata(bag, version=version, further={"key": [1, 2]})
    assert is_whole(bag)


def test_metadata_of_a_later_version_that_lack_a_key_say_so(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    change_metadata(bag, version=10, relative_file_paths={"new": "way"})
    message = refusal(bag)
    assert "'relative_file_paths' of type dict, expected list" in message
    assert "it is of version 10, and 9 is the newest that is known" in message


def test_a_topic_in_the_metadata_that_is_not_cdr_does_not_matter(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 20)
    path = bag / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    topic = {
        "name": "/x",
        "type": "X",
        "serialization_format": "json",
        "offered_qos_profiles": "[",
    }
    content["rosbag2_bagfile_information"]["topics_with_message_count"].append(
        {"topic_metadata": topic, "message_count": 3}
    )
    path.write_text(yaml.safe_dump(content))
    assert is_whole(bag)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_files_compressed_with_lz4_are_read(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "bag", 20, storage=storage)
    [file] = (file for file in bag.iterdir() if file.name != "metadata.yaml")
    packed = file.with_name(file.name + ".lz4")
    packed.write_bytes(lz4.frame.compress(file.read_bytes()))
    file.unlink()
    change_metadata(
        bag,
        compression_mode="FILE",
        compression_format="lz4",
        relative_file_paths=[packed.name],
    )
    assert is_whole(bag)
    # The name was written down before the file was compressed.
    change_metadata(bag, relative_file_paths=[file.name])
    assert is_whole(bag)
    shutil.move(packed, tmp_path)
    assert is_whole(tmp_path / packed.name)


def test_a_storage_that_is_not_read_is_named(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    (bag / "bag.mcap").rename(bag / "bag.bag")
    change_metadata(bag, storage_identifier="rosbag_v2", relative_file_paths=["bag.bag"])
    message = refusal(bag)
    assert "its messages are stored in bag.bag, expected mcap or SQLite" in message
    assert "'ros2 bag convert'" in message


def test_paths_of_windows_are_understood(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 20, storage="sqlite3")
    change_metadata(bag, version=3, relative_file_paths=["C:\\bags\\bag\\bag.db3"])
    (bag / "metadata.yaml").write_bytes(
        b"\xef\xbb\xbf" + (bag / "metadata.yaml").read_bytes().replace(b"\n", b"\r\n")
    )
    assert is_whole(bag)


# Folders


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_files_that_other_systems_leave_are_none_of_the_bag(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "bags" / "run", 20, storage=storage)
    [file] = (file for file in bag.iterdir() if file.name != "metadata.yaml")
    copies = tmp_path / "bare"
    copies.mkdir()
    shutil.copy(file, copies / file.name)
    for folder in (bag, bag.parent, copies):
        for name in (f"._{file.name}", "._metadata.yaml", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    apple = bag.parent / "__MACOSX" / "run"
    apple.mkdir(parents=True)
    (apple / f"._{file.name}").write_bytes(b"\0\5\x16\7")
    (bag.parent / "._run").write_bytes(b"\0\5\x16\7")
    for path in (bag, bag.parent, copies):
        assert is_whole(path)


def split(folder: Path, order: list[int], *, parts: int = 12) -> Path:
    """A bag of many files, listed in some order, with a score that counts the decisions."""
    embeddings, chunks = decision_arrays(2 * parts)
    files = []
    for part in range(parts):
        with BagBuilder(folder.parent / f"{folder.name}_part_{part}", "sqlite3") as bag:
            for index in (2 * part, 2 * part + 1):
                stamp = BEGIN + index * PERIOD
                bag.number("/score", index, stamp)
                bag.embedding(embeddings[index], stamp, stamp + 1)
                bag.chunks(chunks[index], stamp, stamp + 2)
        files.append(bag.path)
    join_bags(folder, files)
    change_metadata(folder, relative_file_paths=[f"{folder.name}_{part}.db3" for part in order])
    return folder


@pytest.mark.parametrize("order", ["by time", "by name", "reversed"])
def test_a_split_bag_is_read_by_time_however_its_files_are_listed(
    tmp_path: Path, order: str
) -> None:
    listed = list(range(12))
    listed.sort(key=str if order == "by name" else int, reverse=order == "reversed")
    rollout = read_one(split(tmp_path / "bag", listed), Topics(external={"score": "/score"}))
    assert rollout.external["score"].tolist() == list(range(24))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_files_without_counters_are_read_by_time(tmp_path: Path, order: list[int]) -> None:
    bag = split(tmp_path / "bag", [0, 1, 2], parts=3)
    names = ["morning.db3", "at_noon.db3", "evening.db3"]
    for part, name in enumerate(names):
        (bag / f"bag_{part}.db3").rename(bag / name)
    change_metadata(bag, relative_file_paths=[names[part] for part in order])
    rollout = read_one(bag, Topics(external={"score": "/score"}))
    assert rollout.external["score"].tolist() == list(range(6))


def test_files_that_were_recorded_at_the_same_time_are_read_by_time(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(6)
    with BagBuilder(tmp_path / "policy") as policy, BagBuilder(tmp_path / "scores") as scores:
        for index in range(6):
            stamp = BEGIN + index * PERIOD
            scores.number("/score", index, stamp)
            policy.embedding(embeddings[index], stamp, stamp + 1)
            policy.chunks(chunks[index], stamp, stamp + 2)
    bag = join_bags(tmp_path / "bag", [tmp_path / "policy", tmp_path / "scores"])
    rollout = read_one(bag, Topics(external={"score": "/score"}))
    assert rollout.external["score"].tolist() == list(range(6))


def bare_parts(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    messages = rollout_messages(4 * len(names))
    for number, name in enumerate(names):
        write_mcap(folder / f"{name}.mcap", messages[8 * number : 8 * number + 8])
    return folder


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("rosbag2_2026_01_07-10_00_00", ["0_rosbag2_2026_01_07-10_00_00"]),
        ("pick_07", ["0_pick_07_2026_01_07-10_00_00", "1_pick_07_2026_01_07-10_00_01"]),
        ("moved", ["0_pick_07_2026_01_07-10_00_00", "1_pick_07_2026_01_07-10_00_01"]),
        ("old", ["old_0", "old_1"]),
    ],
)
def test_a_split_bag_without_metadata_is_no_collection_of_bags(
    tmp_path: Path, folder: str, names: list[str]
) -> None:
    message = refusal(bare_parts(tmp_path / folder, names))
    assert "metadata.yaml is missing" in message
    assert "'ros2 bag reindex'" in message


@pytest.mark.parametrize("folder", ["collected", "rosbag2_collected"])
def test_first_files_of_several_bags_are_bags_of_their_own(tmp_path: Path, folder: str) -> None:
    names = ["0_rosbag2_2026_01_07-10_00_00", "0_rosbag2_2026_01_08-10_00_00", "pick_1", "pick_2"]
    rollouts = read_rollouts([bare_parts(tmp_path / folder, names)]).rollouts
    assert [rollout.name for rollout in rollouts] == names


def test_a_split_bag_of_the_new_names_is_read_in_its_order(tmp_path: Path) -> None:
    folder = tmp_path / "pick"
    bare_parts(folder, [f"{n}_pick_2026_01_07-10_00_{n:02d}" for n in range(11)])
    files = sorted(file.name for file in folder.iterdir())
    topics = [
        {
            "topic_metadata": {"name": name, "type": CLOUD, "serialization_format": "cdr"},
            "message_count": 44,
        }
        for name in (EMBEDDING, CHUNKS)
    ]
    information = {
        "version": 9,
        "relative_file_paths": files,
        "topics_with_message_count": topics,
        "duration": {"nanoseconds": 44 * PERIOD},
    }
    (folder / "metadata.yaml").write_text(
        yaml.safe_dump({"rosbag2_bagfile_information": information})
    )
    assert is_whole(folder, 44)


def test_a_topic_of_another_type_is_told_with_the_option_that_helps(tmp_path: Path) -> None:
    messages = rollout_messages()
    number = STORE.types["std_msgs/msg/Float64"](data=1.0)
    path = write_mcap(tmp_path / "run.mcap", [Message(ACTIVE, number, BEGIN), *messages])
    message = refusal(path)
    assert f"{ACTIVE} is a std_msgs/msg/Float64, expected a std_msgs/msg/Bool" in message
    assert "--active-topic ''" in message
    assert len(read_one(path, Topics(active=""))) == 20


@pytest.mark.parametrize("is_repeated", [False, True])
def test_names_of_tasks_mark_rollouts(tmp_path: Path, is_repeated: bool) -> None:
    embeddings, chunks = decision_arrays(9)
    with BagBuilder(tmp_path / "bag") as bag:
        for index in range(9):
            stamp = BEGIN + index * PERIOD
            task = ("pick", "place", "")[index // 3]
            if is_repeated or index % 3 == 0:
                bag.text(ACTIVE, task, stamp - 2)
            bag.embedding(embeddings[index], stamp)
            bag.chunks(chunks[index], stamp)
    rollouts = read_rollouts([tmp_path / "bag"]).rollouts
    assert [(rollout.task, len(rollout)) for rollout in rollouts] == [("pick", 3), ("place", 3)]
