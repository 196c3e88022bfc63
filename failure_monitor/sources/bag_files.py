# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a bag: found, and checked for their ends."""

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
"""What SQLite keeps beside a database that was not closed."""
SQLITE_HEADER_SIZE = 100


class DamagedBagError(Exception):
    """A bag that is incomplete or contradicts itself; what reads the bag says so by its name."""


@dataclass(frozen=True)
class Bag:
    """A bag on disk.

    Attributes:
        path: its folder, or its one file.
        files: the files that hold its messages, in order.
        compression: `file` where each file is compressed as a whole, `message` where each
            message is, else empty.
        topics: what its metadata say was recorded; None for a bare file, which has none.
        seconds: from the first message to the last, likewise.
        is_cut_at_begin: whether its metadata say that its rollout had begun before.
    """

    path: Path
    files: tuple[Path, ...]
    compression: str = ""
    topics: tuple[TopicCount, ...] | None = None
    seconds: float | None = None
    is_cut_at_begin: bool = False

    @property
    def name(self) -> str:
        """What to call it: the name without what says that it is a bag."""
        name = self.path.resolve().name
        suffix = next((s for s in FILE_SUFFIXES if name.endswith(s)), "")
        return name if self.path.is_dir() else name.removesuffix(suffix)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.files)


def is_bag_folder(path: Path) -> bool:
    """Whether a folder is a rosbag2 bag, be it without its metadata.

    A folder of bare files is none: those of a bag are called after their folder.
    """
    if not path.is_dir():
        return False
    own = re.compile(rf"{re.escape(path.resolve().name)}(_\d+)?")
    return (path / METADATA_FILE).exists() or any(
        own.fullmatch(file.name.split(".mcap")[0].split(".db3")[0]) for file in storage_files(path)
    )


def is_bag_file(path: Path) -> bool:
    """Whether a file's name is that of a bare mcap or SQLite file, or of a ROS 1 bag."""
    return path.is_file() and path.name.endswith(FILE_SUFFIXES)


def storage_files(folder: Path) -> list[Path]:
    """The mcap and SQLite files in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(STORAGE_SUFFIXES))


def bag_at(path: Path) -> Bag:
    """The bag in a folder or file.

    Raises:
        DamagedBagError: its metadata are missing or wrong, or do not name the files that are
            there.
        SourceError: a file lies elsewhere, behind a link.
        OSError: something cannot be read.
    """
    if not path.is_dir():
        return Bag(path, (path,), "file" if path.suffix == ".zstd" else "")
    there = storage_files(path)
    for file in (path / METADATA_FILE, *there):
        refuse_link_out(file, path)
    try:
        metadata = read_metadata(path)
    except MetadataError as error:
        raise DamagedBagError(str(error)) from None
    files = tuple(path / name for name in metadata.files)
    if sorted(files) != there:
        named, found = (", ".join(sorted(f.name for f in some)) for some in (files, there))
        raise DamagedBagError(
            f"{METADATA_FILE} names the files {named or 'none'}, there are {found or 'none'}"
        )
    return Bag(
        path,
        files,
        metadata.compression,
        metadata.topics,
        metadata.seconds,
        metadata.is_cut_at_begin,
    )


def refuse_link_out(path: Path, folder: Path) -> None:
    """Refuse a link in a folder to something outside of it.

    Raises:
        SourceError: it is one.
    """
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(
            f"{path} is a link to {path.resolve()}, outside of its folder, which is not followed: "
            "name the bag by the path where it lies"
        )


def refuse_cut_off(path: Path) -> None:
    """Refuse an mcap or SQLite file that lacks its end.

    Raises:
        DamagedBagError: it does.
        OSError: it cannot be read.
    """
    if path.suffix == ".mcap":
        _refuse_cut_off_mcap(path)
    elif path.suffix == ".db3":
        _refuse_cut_off_database(path)


def _refuse_cut_off_mcap(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - len(MAGIC)))
        end = stream.read()
    if end != MAGIC or size == len(MAGIC):
        raise DamagedBagError(f"{path.name} stops after {size} bytes, before its end")


def _refuse_cut_off_database(path: Path) -> None:
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
        raise DamagedBagError(f"{path.name} stops after {size} bytes, before its end")
