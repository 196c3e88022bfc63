# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bags that are damaged or made to do harm: nothing is run, nothing else read, memory holds."""

from __future__ import annotations

import random
import sqlite3
import struct
from pathlib import Path

import pytest
from backports import zstd
from testbed.bags import BEGIN, CHUNKS, EMBEDDING, STORE, BagBuilder, decision_arrays, write_bag

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources import bag_messages, rosbag
from failure_monitor.sources.memory_bound import bounded_memory
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError

CLOUD = "sensor_msgs/msg/PointCloud2"


def refusal(path: Path) -> str:
    with pytest.raises(FailureMonitorError) as refused:
        read_rollouts([path])
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 2000
    return str(refused.value)


def said_of(path: Path) -> str:
    """What a refusal says, as far as the bag's path; nothing if the bag is read."""
    try:
        read_rollouts([path])
    except FailureMonitorError as error:
        found = str(error).find(str(path))
        return str(error)[: len(str(path))] if found == 0 else str(error)
    return ""


def change_metadata(bag: Path, old: str, new: str) -> None:
    metadata = bag / "metadata.yaml"
    text = metadata.read_text()
    assert old in text
    metadata.write_text(text.replace(old, new))


@pytest.mark.parametrize("version", [3, 9])
@pytest.mark.parametrize("path", ["../secret.mcap", "a/../../secret.mcap", "..", ""])
def test_metadata_cannot_name_files_outside_of_the_bag(
    tmp_path: Path, path: str, version: int
) -> None:
    write_bag(tmp_path / "secret")
    (tmp_path / "secret" / "secret.mcap").rename(tmp_path / "secret.mcap")
    bag = write_bag(tmp_path / "bag")
    change_metadata(bag, "version: 9", f"version: {version}")
    change_metadata(bag, "- bag.mcap", f"- '{path}'")
    assert "names a file outside of the bag" in refusal(bag)


def test_metadata_cannot_name_files_by_absolute_paths(tmp_path: Path) -> None:
    other = write_bag(tmp_path / "other")
    bag = write_bag(tmp_path / "bag")
    change_metadata(bag, "- bag.mcap", f"- {other / 'other.mcap'}")
    assert "names a file outside of the bag" in refusal(bag)


@pytest.mark.parametrize("name", ["bag.mcap", "metadata.yaml"])
def test_a_link_in_a_bag_to_something_outside_is_not_followed(tmp_path: Path, name: str) -> None:
    bag = write_bag(tmp_path / "bag")
    (bag / name).rename(tmp_path / name)
    (bag / name).symlink_to(tmp_path / name)
    message = refusal(bag)
    assert f"{bag / name} is a link to {tmp_path / name}, outside of its folder" in message


def test_a_link_in_a_folder_of_bags_to_something_outside_is_not_followed(tmp_path: Path) -> None:
    outside = write_bag(tmp_path / "outside")
    write_bag(tmp_path / "bags" / "inside", seed=1)
    (tmp_path / "bags" / "linked").symlink_to(outside)
    assert "outside of its folder" in refusal(tmp_path / "bags")
    (tmp_path / "bags" / "linked").unlink()
    (tmp_path / "bags" / "again").symlink_to(tmp_path / "bags" / "inside")
    assert "are the same rollout" in refusal(tmp_path / "bags")


@pytest.mark.parametrize(
    "tagged",
    [
        "!!python/object/apply:os.system ['touch hacked']",
        "!!python/object/new:os.system ['touch hacked']",
        "!!python/name:os.system",
        "!evil {}",
    ],
)
def test_tags_in_metadata_run_nothing(
    tmp_path: Path, tagged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bag = write_bag(tmp_path / "bag")
    change_metadata(bag, "custom_data: null", f"custom_data: {tagged}")
    assert "metadata.yaml is not plain YAML" in refusal(bag)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    "key", ["compression_format", "compression_mode", "storage_identifier", "relative_file_paths"]
)
def test_aliases_that_multiply_are_not_written_out(tmp_path: Path, key: str) -> None:
    levels = ["&a0 [x, x]"]
    levels += [f"&a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, 40)]
    bag = write_bag(tmp_path / "bag", storage="mcap message")
    metadata = bag / "metadata.yaml"
    lines = [line for line in metadata.read_text().splitlines() if f"  {key}:" not in line]
    lines = [line for line in lines if line != "  - bag.mcap"]
    bomb = [f"  b{level}: {text}" for level, text in enumerate(levels)]
    metadata.write_text("\n".join([*lines, *bomb, f"  {key}: *a39", ""]))
    assert "metadata.yaml" in refusal(bag)


def test_metadata_without_end_are_refused(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    with (bag / "metadata.yaml").open("ab") as metadata:
        metadata.truncate(17 << 20)
    assert "has more than 16777216 bytes" in refusal(bag)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'rosbag2_bagfile_information' of type NoneType"),
        ("[]", "'rosbag2_bagfile_information' of type NoneType"),
        ("rosbag2_bagfile_information: 3", "of type int, expected dict"),
        ("rosbag2_bagfile_information: {version: 10}", "9 is the newest that is known"),
        ("rosbag2_bagfile_information: {version: true}", "'version' of type bool, expected int"),
        ("a: [", "is not plain YAML"),
        ("a: 2024-99-99", "is not plain YAML"),
    ],
)
def test_what_is_wrong_with_metadata_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    bag = write_bag(tmp_path / "bag")
    (bag / "metadata.yaml").write_text(text)
    message = refusal(bag)
    assert sentence in message
    assert message.startswith(f"{bag}: the bag is damaged")


def cloud_bytes() -> bytes:
    with_embedding = []

    class Keeping(BagBuilder):
        def write_bytes(self, topic: str, message_type: str, data: bytes, received: int) -> None:
            with_embedding.append(data)

    embeddings, _ = decision_arrays(1)
    Keeping(Path("nowhere")).embedding(embeddings[0], BEGIN)
    return with_embedding[0]


def test_a_message_cannot_claim_more_than_it_is(tmp_path: Path) -> None:
    whole = cloud_bytes()
    assert STORE.deserialize_cdr(whole, CLOUD)
    # Every four bytes in turn become a length that is beyond all memory.
    for number, place in enumerate(range(0, len(whole) - 4, 4)):
        hostile = whole[:place] + struct.pack("<I", 0x7FFFFFF0) + whole[place + 4 :]
        path = tmp_path / str(number)
        with BagBuilder(path, "mcap uncompressed") as bag:
            bag.topic(CHUNKS, CLOUD)
            bag.write_bytes(EMBEDDING, CLOUD, hostile, BEGIN)
        with bounded_memory(64 << 20):
            assert str(path) in refusal(path)


@pytest.mark.parametrize("place", [1, 9, 17, 25])
def test_a_record_cannot_claim_more_than_the_file_holds(tmp_path: Path, place: int) -> None:
    path = write_bag(tmp_path / "bag", storage="mcap") / "bag.mcap"
    whole = path.read_bytes()
    chunk = whole.index(b"\x06", 8 + 9 + int.from_bytes(whole[9:17], "little"))
    for length in (1 << 40, (1 << 62) + 1, (1 << 64) - 1):
        begin = chunk + place
        path.write_bytes(whole[:begin] + length.to_bytes(8, "little") + whole[begin + 8 :])
        with bounded_memory(64 << 20):
            assert said_of(path.parent) in ("", str(path.parent))


def test_a_chunk_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        bag.topic(CHUNKS, CLOUD)
        bag.write_bytes(EMBEDDING, CLOUD, bytes(300 << 20), BEGIN)
    assert (tmp_path / "bag" / "bag.mcap").stat().st_size < 1 << 20
    monkeypatch.setattr(rosbag, "MEMORY", 100 << 20)
    assert "so one of the lengths in it must be wrong" in refusal(tmp_path / "bag")


def test_a_database_that_makes_up_its_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / "bag", storage="sqlite3")
    with sqlite3.connect(bag / "bag.db3") as database:
        columns = "id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER"
        database.executescript(
            f"""ALTER TABLE messages RENAME TO old;
            CREATE TABLE messages({columns}, data GENERATED ALWAYS AS (zeroblob(900000000)));
            INSERT INTO messages(topic_id, timestamp) SELECT topic_id, timestamp FROM old;"""
        )
    monkeypatch.setattr(rosbag, "MEMORY", 100 << 20)
    assert str(bag) in refusal(bag)


def test_a_file_that_unpacks_without_end_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / "bag", storage="mcap file")
    (bag / "bag.mcap.zstd").write_bytes(zstd.compress(bytes(50 << 20)))
    monkeypatch.setattr(bag_messages, "SMALL_FILE", 10 << 20)
    monkeypatch.setattr(bag_messages, "MAX_EXPANSION", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "unpacked"))
    (tmp_path / "unpacked").mkdir()
    assert "unpacks to more than" in refusal(bag)
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_the_bound_on_memory_ends_with_its_context() -> None:
    with pytest.raises(MemoryError), bounded_memory(64 << 20):
        bytearray(256 << 20)
    assert len(bytearray(256 << 20)) == 256 << 20


@pytest.mark.parametrize("storage", ["mcap", "mcap uncompressed", "sqlite3", "ros1"])
def test_whatever_bytes_are_wrong_a_bag_is_read_or_refused(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "run.bag"
    write_bag(path, 6, storage=storage)
    files = [path] if path.is_file() else sorted(path.iterdir())
    chance = random.Random(0)
    with bounded_memory(1 << 30):
        for file in files:
            whole = file.read_bytes()
            for _ in range(60):
                damaged = bytearray(whole)
                begin = chance.randrange(len(whole))
                size = chance.choice((1, 1, 4, 40))
                damaged[begin : begin + size] = chance.randbytes(
                    len(damaged[begin : begin + size])
                )
                file.write_bytes(damaged)
                assert said_of(path) in ("", str(path))
            file.write_bytes(whole)
    assert len(read_rollouts([path]).rollouts[0]) == 6


def test_a_bag_that_is_no_bag_is_refused(tmp_path: Path) -> None:
    for name in ("run.mcap", "run.db3", "run.bag", "run.mcap.zstd"):
        for content in (b"", b"hello", b"\0" * 4096, b"\x80\x04cos\nsystem\n"):
            (tmp_path / name).write_bytes(content)
            assert str(tmp_path / name) in refusal(tmp_path / name)


def test_all_refused_sources_are_told_of_at_once(tmp_path: Path) -> None:
    for number in range(4):
        bag = write_bag(tmp_path / f"run_{number}", seed=number)
        if number:
            (bag / f"run_{number}.mcap").write_bytes(b"")
    with pytest.raises(SourceError) as refused:
        read_rollouts([tmp_path])
    assert str(refused.value).startswith(f"{tmp_path / 'run_1'}: the bag is damaged")
    assert "(of 4 sources, 2 more are rejected: run_2, run_3)" in str(refused.value)
