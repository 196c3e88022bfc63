# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""However a bag was stored, the same rollout comes out of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from testbed.bags import (
    ACTIVE,
    BEGIN,
    PERIOD,
    STORAGES,
    SUCCESS,
    BagBuilder,
    decision_arrays,
    join_bags,
    write_bag,
)

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError

DECISIONS = 8
ROS1 = tuple(storage for storage in STORAGES if storage.startswith("ros1"))
ROS2 = tuple(storage for storage in STORAGES if not storage.startswith("ros1"))


def path_for(folder: Path, storage: str, name: str = "bag") -> Path:
    return folder / (f"{name}.bag" if storage.startswith("ros1") else name)


def read_one(path: Path):
    (rollout,) = read_rollouts([path]).rollouts
    return rollout


def file_of(bag: Path) -> Path:
    if bag.is_file():
        return bag
    [file] = (file for file in bag.iterdir() if file.name != "metadata.yaml")
    return file


@pytest.mark.parametrize("storage", STORAGES)
def test_every_kind_of_bag_gives_the_decisions_that_were_recorded(
    tmp_path: Path, storage: str
) -> None:
    embeddings, chunks = decision_arrays(DECISIONS, seed=3)
    path = path_for(tmp_path, storage)
    bag = write_bag(path, DECISIONS, storage=storage, seed=3, success=False)
    rollout = read_one(bag)
    np.testing.assert_array_equal(rollout.embeddings, embeddings)
    np.testing.assert_array_equal(rollout.chunks, chunks)
    np.testing.assert_allclose(np.diff(rollout.stamps), 0.1, atol=1e-6)
    assert (rollout.name, rollout.source, rollout.success) == ("bag", str(bag), False)


def test_a_rollout_is_known_again_however_its_bag_is_stored(tmp_path: Path) -> None:
    hashes = {
        read_one(write_bag(path_for(tmp_path, storage, storage), storage=storage)).sha256
        for storage in STORAGES
    }
    assert len(hashes) == 1
    assert read_one(write_bag(tmp_path / "failed", success=False)).sha256 in hashes
    assert read_one(write_bag(tmp_path / "longer", 9)).sha256 not in hashes
    assert read_one(write_bag(tmp_path / "other", seed=1)).sha256 not in hashes


@pytest.mark.parametrize("storage", ROS2)
def test_a_bare_file_gives_the_rollout_of_its_folder(tmp_path: Path, storage: str) -> None:
    folder = write_bag(tmp_path / "bag", storage=storage)
    expected = read_one(folder)
    bare = tmp_path / "elsewhere" / file_of(folder).name
    bare.parent.mkdir()
    shutil.move(file_of(folder), bare)
    rollout = read_one(bare)
    np.testing.assert_array_equal(rollout.chunks, expected.chunks)
    assert (rollout.name, rollout.sha256) == ("bag", expected.sha256)


@pytest.mark.parametrize("storage", ROS2)
def test_a_split_bag_is_read_file_after_file(tmp_path: Path, storage: str) -> None:
    embeddings, chunks = decision_arrays(6, seed=5)
    parts = [tmp_path / f"part_{part}" for part in range(3)]
    for part, path in enumerate(parts):
        with BagBuilder(path, storage) as bag:
            if part == 0:
                bag.flag(ACTIVE, True, BEGIN - 1)
            for index in (2 * part, 2 * part + 1):
                bag.embedding(embeddings[index], BEGIN + index * PERIOD)
                bag.chunks(chunks[index], BEGIN + index * PERIOD)
            if part == 2:
                bag.flag(ACTIVE, False, BEGIN + 6 * PERIOD)
                bag.flag(SUCCESS, True, BEGIN + 6 * PERIOD + 1)
    rollout = read_one(join_bags(tmp_path / "bag", parts))
    np.testing.assert_array_equal(rollout.embeddings, embeddings)
    np.testing.assert_array_equal(rollout.chunks, chunks)
    assert rollout.success is True


def test_halves_of_a_decision_in_two_files_of_a_split_bag_are_paired(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(1)
    parts = [tmp_path / "one", tmp_path / "other"]
    with BagBuilder(parts[0]) as bag:
        bag.embedding(embeddings[0], BEGIN)
    with BagBuilder(parts[1]) as bag:
        bag.chunks(chunks[0], BEGIN, received=BEGIN + 5)
    assert len(read_one(join_bags(tmp_path / "bag", parts))) == 1


def test_a_split_bag_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    parts = [write_bag(tmp_path / f"part_{part}", seed=part) for part in range(2)]
    bag = join_bags(tmp_path / "bag", parts)
    (bag / "bag_1.mcap").unlink()
    with pytest.raises(
        SourceError, match=r"names the files bag_0\.mcap, bag_1\.mcap, the folder has"
    ):
        read_rollouts([bag])


def test_a_file_that_the_metadata_do_not_name_is_not_passed_over(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    shutil.copy(bag / "bag.mcap", bag / "bag_1.mcap")
    with pytest.raises(
        SourceError, match=r"names the files bag\.mcap, the folder has .*bag_1\.mcap"
    ):
        read_rollouts([bag])


def test_a_cut_file_of_a_split_bag_is_named(tmp_path: Path) -> None:
    parts = [write_bag(tmp_path / f"part_{part}", 40, seed=part) for part in range(2)]
    bag = join_bags(tmp_path / "bag", parts)
    last = bag / "bag_1.mcap"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"bag_1\.mcap is truncated after \d+ bytes"):
        read_rollouts([bag])


def test_a_folder_of_bare_files_and_bags_of_all_kinds_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write_bag(tmp_path / "folder" / "b.bag", seed=1, storage="ros1")
    write_bag(tmp_path / "folder" / "c", seed=2)
    for seed, storage, name in ((0, "mcap", "a"), (3, "sqlite3", "d")):
        bag = write_bag(tmp_path / name, seed=seed, storage=storage)
        shutil.copy(file_of(bag), tmp_path / "folder")
    (tmp_path / "folder" / "notes.txt").write_text("no bag")
    rollouts = read_rollouts([tmp_path / "folder"]).rollouts
    assert [rollout.name for rollout in rollouts] == ["a", "b", "c", "d"]


def test_a_pattern_names_what_fits_it(tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        for number in range(2):
            write_bag(tmp_path / day / f"{day}_{number}", seed=number + 10 * len(day))
        (tmp_path / day / "notes.txt").write_text("no bag")
    names = [rollout.name for rollout in read_rollouts([tmp_path / "*" / "*_1"]).rollouts]
    assert names == ["monday_1", "tuesday_1"]
    assert len(read_rollouts([tmp_path / "*day"]).rollouts) == 4
    assert len(read_rollouts([tmp_path / "*" / "*"]).rollouts) == 4
    with pytest.raises(SourceError, match="no source matches the pattern"):
        read_rollouts([tmp_path / "*" / "*_7"])


def test_bags_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for seed, path in enumerate(("monday/run", "tuesday/run", "tuesday/other")):
        write_bag(tmp_path / path, seed=seed)
    rollouts = read_rollouts([tmp_path / "monday", tmp_path / "tuesday"]).rollouts
    assert [rollout.name for rollout in rollouts] == ["monday/run", "other", "tuesday/run"]


@pytest.mark.parametrize("storage", ROS1)
def test_a_truncated_ros1_bag_is_refused_by_name(tmp_path: Path, storage: str) -> None:
    path = write_bag(tmp_path / "run.bag", 40, storage=storage)
    whole = path.read_bytes()
    for size in {0, 1, 13, 100, 4200, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(FailureMonitorError) as refused:
            read_rollouts([path])
        assert str(refused.value).startswith(f"{path}: the bag is damaged"), size
        assert "rosbag reindex" in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("storage", ["mcap file", "sqlite3 file", "mcap message"])
def test_a_compressed_bag_that_was_cut_off_is_refused(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "bag", 40, storage=storage)
    file = file_of(bag)
    whole = file.read_bytes()
    for size in {0, 3, 20, len(whole) // 2, len(whole) - 1}:
        file.write_bytes(whole[:size])
        with pytest.raises(FailureMonitorError) as refused:
            read_rollouts([bag])
        assert str(refused.value).startswith(f"{bag}: the bag is damaged"), size
        assert "\n" not in str(refused.value)


def test_a_database_that_was_not_closed_is_refused(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", storage="sqlite3")
    (bag / "bag.db3-wal").write_bytes(b"\x37\x7f\x06\x82")
    with pytest.raises(SourceError, match=r"some of its messages are in bag\.db3-wal"):
        read_rollouts([bag])
    (bag / "bag.db3-wal").write_bytes(b"")
    assert len(read_one(bag)) == 8


@pytest.mark.parametrize("sign", "?#%")
def test_a_database_in_a_path_that_sqlite_would_misread_is_read(tmp_path: Path, sign: str) -> None:
    folder = tmp_path / f"run{sign}1"
    folder.mkdir()
    for storage in ("mcap", "sqlite3"):
        shutil.move(write_bag(tmp_path / storage, storage=storage), folder)
    assert len(read_one(folder / "sqlite3")) == len(read_one(folder / "mcap")) == 8


def test_metadata_of_early_versions_name_files_behind_their_folder(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", storage="sqlite3")
    metadata = bag / "metadata.yaml"
    text = metadata.read_text().replace("- bag.db3", "- somewhere/bag/bag.db3")
    metadata.write_text(text.replace("version: 9", "version: 3"))
    assert len(read_one(bag)) == 8


def test_a_link_to_a_bag_is_followed_where_it_is_named(tmp_path: Path) -> None:
    write_bag(tmp_path / "bags" / "bag")
    (tmp_path / "named").symlink_to(tmp_path / "bags" / "bag")
    assert read_one(tmp_path / "named").name == "bag"
