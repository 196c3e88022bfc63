# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the files of a bag and checks that none is truncated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from failure_monitor.sources.bag_metadata import (
    METADATA_FILE,
    MetadataError,
    TopicCount,
    read_metadata,
)
from failure_monitor.sources.source import SourceError
from failure_monitor.sources.truncated_mcap import MAGIC

STORAGE_SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
FILE_SUFFIXES = (*STORAGE_SUFFIXES, ".bag")
UNFINISHED_SUFFIXES = ("-wal", "-journal")
"""Suffixes of the files that SQLite keeps beside a database that was not closed."""
SQLITE_HEADER_SIZE = 100


class DamagedBagError(Exception):
    """A bag that is incomplete or contradicts itself; the caller adds the name of the bag."""


@dataclass(frozen=True)
class Bag:
    """A bag on disk.

    Attributes:
        path: The folder, or the only file.
        files: The files with messages, in order.
        compression: `file` if each file is compressed, `message` if each message is, else empty.
        topics: The topics according to the metadata; None for a bare file, which has no metadata.
        seconds: The seconds from the first message to the last; None for a bare file.
        is_cut_at_start: True if, according to the metadata, its rollout had started before.
    """

    path: Path
    files: tuple[Path, ...]
    compression: str = ""
    topics: tuple[TopicCount, ...] | None = None
    seconds: float | None = None
    is_cut_at_start: bool = False

    @property
    def name(self) -> str:
        """The name without the suffixes of bags."""
        name = self.path.resolve().name
        suffix = next((s for s in FILE_SUFFIXES if name.endswith(s)), "")
        return name if self.path.is_dir() else name.removesuffix(suffix)

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.stat().st_size for file in self.files)


def is_bag_folder(path: Path) -> bool:
    """Return whether a folder is a rosbag2 bag, with or without its metadata.

    The files of a bag are named after their folder, other than a collection of bare files.
    """
    if not path.is_dir():
        return False
    own = re.compile(rf"{re.escape(path.resolve().name)}(_\d+)?")
    return (path / METADATA_FILE).exists() or any(
        own.fullmatch(file.name.split(".mcap")[0].split(".db3")[0]) for file in storage_files(path)
    )


def is_bag_file(path: Path) -> bool:
    """Return whether a file is a bare mcap or SQLite file or a ROS 1 bag, by its name."""
    return path.is_file() and path.name.endswith(FILE_SUFFIXES)


def storage_files(folder: Path) -> list[Path]:
    """Return the mcap and SQLite files in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(STORAGE_SUFFIXES))


def bag_at(path: Path) -> Bag:
    """Return the bag in a folder or file.

    Raises:
        DamagedBagError: Its metadata are missing or wrong, or name other files than there are.
        SourceError: A file is a link to a file outside of the folder.
        OSError: A file cannot be read.
    """
    if not path.is_dir():
        return Bag(path, (path,), "file" if path.suffix == ".zstd" else "")
    there = storage_files(path)
    for file in (path / METADATA_FILE, *there):
        reject_link_out(file, path)
    try:
        metadata = read_metadata(path)
    except MetadataError as error:
        raise DamagedBagError(str(error)) from None
    files = tuple(path / name for name in metadata.files)
    if sorted(files) != there:
        named, found = (", ".join(sorted(f.name for f in some)) for some in (files, there))
        raise DamagedBagError(
            f"{METADATA_FILE} names the files {named or 'none'}, the folder has {found or 'none'}"
        )
    return Bag(
        path,
        files,
        metadata.compression,
        metadata.topics,
        metadata.seconds,
        metadata.is_cut_at_start,
    )


def reject_link_out(path: Path, folder: Path) -> None:
    """Reject a link from a folder to a file outside of it.

    Raises:
        SourceError: It is such a link.
    """
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(
            f"{path} is a link to {path.resolve()}, outside of its folder: links are not followed; "
            "name the bag by the path where it lies"
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
