# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the files of a bag and checks that none is truncated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from failure_monitor.sources.bag_metadata import (
    METADATA_FILE,
    MetadataError,
    TopicCount,
    read_metadata,
)
from failure_monitor.sources.mcap_file import MAGIC
from failure_monitor.sources.source import SourceError
from failure_monitor.sources.storage import DamagedBagError, UnsupportedBagError

COMPRESSIONS = {".zstd": "zstd", ".lz4": "lz4"}
"""How a file is compressed, by what is behind its name."""
STORAGE_SUFFIXES = tuple(
    storage + behind for storage in (".mcap", ".db3") for behind in ("", *COMPRESSIONS)
)
FILE_SUFFIXES = (*STORAGE_SUFFIXES, ".bag")
UNFINISHED_SUFFIXES = ("-wal", "-journal")
"""Suffixes of the files that SQLite keeps beside a database that was not closed."""
SQLITE_HEADER_SIZE = 100

OLD_SPLIT_NAME = re.compile(r"(?P<prefix>.+)_(?P<counter>\d+)")
TIME_IN_NAME = r"\d{4}_\d{2}_\d{2}-\d{2}_\d{2}_\d{2}(_\d+)?"
NEW_SPLIT_NAME = re.compile(rf"(?P<counter>\d+)_(?P<prefix>.+)_{TIME_IN_NAME}")
"""How rosbag2 calls the files of a split bag, in this order of its versions."""


@dataclass(frozen=True)
class Bag:
    """A bag on disk.

    Attributes:
        path: The folder, or the only file.
        files: The files with messages.
        are_counted: True if the files are in the order in which they were recorded, by the
            counters in their names.
        packs_messages: True if each message is compressed; None for a bare file, which does not
            state it.
        topics: The topics according to the metadata; None for a bare file, which has no metadata.
        is_cut_at_start: True if, according to the metadata, its rollout had started before.
    """

    path: Path
    files: tuple[Path, ...]
    are_counted: bool = False
    packs_messages: bool | None = None
    topics: tuple[TopicCount, ...] | None = None
    is_cut_at_start: bool = False

    @property
    def name(self) -> str:
        """The name without the suffixes of bags."""
        path = self.path.resolve()
        return path.name if path.is_dir() else _stem(path)

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.stat().st_size for file in self.files)


def is_bag_folder(path: Path) -> bool:
    """Return whether a folder is a rosbag2 bag, with or without its metadata.

    The files of a bag are named after their folder, or counted, other than a collection of bare
    files.
    """
    if not path.is_dir():
        return False
    if (path / METADATA_FILE).exists():
        return True
    folder = path.resolve().name
    stems = [_stem(file) for file in storage_files(path)]
    own = re.compile(rf"{re.escape(folder)}(_\d+)?")
    if any(own.fullmatch(stem) for stem in stems):
        return True
    parts = [part for stem in stems if (part := NEW_SPLIT_NAME.fullmatch(stem))]
    named = any(
        re.fullmatch(rf"{re.escape(part['prefix'])}(_{TIME_IN_NAME})?", folder) for part in parts
    )
    # The first file of each of several bags may lie together, but no further one.
    return named or any(int(part["counter"]) > 0 for part in parts)


def is_bag_file(path: Path) -> bool:
    """Return whether a file is a bare mcap or SQLite file or a ROS 1 bag, by its name."""
    return path.name.endswith(FILE_SUFFIXES) and not is_stray(path) and path.is_file()


def is_stray(path: Path) -> bool:
    """Return whether a file or folder is none of the user's, such as macOS's `._bag_0.mcap`."""
    return path.name.startswith(".")


def storage_files(folder: Path) -> list[Path]:
    """Return the mcap and SQLite files in a folder, sorted by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.endswith(STORAGE_SUFFIXES) and not is_stray(path)
    )


def bag_at(path: Path) -> Bag:
    """Return the bag in a folder or file.

    Raises:
        DamagedBagError: Its metadata are missing or wrong, or name other files than there are.
        SourceError: A file is a link to a file outside of the folder, or it is stored in a way
            that is not read.
        OSError: A file cannot be read.
    """
    if not path.is_dir():
        return Bag(path, (path,))
    there = storage_files(path)
    for file in (path / METADATA_FILE, *there):
        reject_link_out(file, path)
    try:
        metadata = read_metadata(path)
    except MetadataError as error:
        raise DamagedBagError(str(error)) from None
    named = [path / name for name in metadata.files]
    strange = [file.name for file in named if not file.name.endswith(STORAGE_SUFFIXES)]
    if strange:
        raise UnsupportedBagError(
            f"its messages are stored in {strange[0]}, expected mcap or SQLite, and zstd, lz4 "
            "or no compression: convert it with 'ros2 bag convert'"
        )
    # Some recorders compress a file after its name was written down, and some do not.
    if sorted(map(_stem, named)) != sorted(map(_stem, there)):
        listed, found = (", ".join(sorted(f.name for f in some)) for some in (named, there))
        raise DamagedBagError(
            f"{METADATA_FILE} names the files {listed or 'none'}, the folder has {found or 'none'}"
        )
    counted = _in_order_of_counters(there)
    return Bag(
        path,
        counted or tuple(there),
        bool(counted),
        metadata.packs_messages,
        metadata.topics,
        metadata.is_cut_at_start,
    )


def _in_order_of_counters(files: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files as rosbag2 counted them, and behind them those without a counter.

    There is no file if none has a counter. Metadata may list `_10` before `_2`.
    """
    counted: dict[int, Path] = {}
    for pattern in (NEW_SPLIT_NAME, OLD_SPLIT_NAME):
        parts = [(file, part) for file in files if (part := pattern.fullmatch(_stem(file)))]
        if len({part["prefix"] for _, part in parts}) == 1:
            counted = {int(part["counter"]): file for file, part in parts}
        if len(counted) == len(parts) > 0:
            in_order = [counted[counter] for counter in sorted(counted)]
            return (*in_order, *(file for file in files if file not in in_order))
    return ()


def _stem(file: Path) -> str:
    suffix = next((s for s in FILE_SUFFIXES if file.name.endswith(s)), "")
    return file.name.removesuffix(suffix)


def reject_link_out(path: Path, folder: Path) -> None:
    """Reject a link from a folder to a file outside of it.

    Raises:
        SourceError: It is such a link.
    """
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(
            f"{path} is a link to {path.resolve()}, outside of its folder: links are not "
            "followed; name the bag by the path where it lies"
        )


def reject_truncated(path: Path) -> None:
    """Reject an mcap or SQLite file that lacks its end.

    Raises:
        DamagedBagError: It lacks its end.
        OSError: It cannot be read.
    """
    if path.suffix == ".mcap":
        _reject_truncated_mcap(path)
    elif path.suffix == ".db3":
        _reject_truncated_database(path)


def _reject_truncated_mcap(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - len(MAGIC)))
        end = stream.read()
    if end != MAGIC or size == len(MAGIC):
        raise DamagedBagError(f"{path.name} is truncated after {size} bytes")


def _reject_truncated_database(path: Path) -> None:
    for suffix in UNFINISHED_SUFFIXES:
        beside = path.with_name(path.name + suffix)
        if beside.exists() and beside.stat().st_size > 0:
            raise DamagedBagError(
                f"{path.name} was not closed: some of its messages are in {beside.name}"
            )
    size = path.stat().st_size
    with path.open("rb") as stream:
        header = stream.read(SQLITE_HEADER_SIZE)
    page_size = int.from_bytes(header[16:18], "big")
    # 1 stands for 65536, which two bytes cannot hold.
    expected = (65536 if page_size == 1 else page_size) * int.from_bytes(header[28:32], "big")
    # SQLite itself would read what is missing of the last page as zeros.
    if size < max(expected, SQLITE_HEADER_SIZE):
        raise DamagedBagError(f"{path.name} is truncated after {size} bytes")
