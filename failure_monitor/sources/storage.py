# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The files in which a bag keeps its messages: found, hashed, and checked for their ends."""

from __future__ import annotations

import hashlib
from pathlib import Path

from failure_monitor.sources.cut_mcap import MAGIC

STORAGE_PATTERNS = ("*.mcap", "*.db3", "*.mcap.zstd", "*.db3.zstd")

SQLITE_HEADER_SIZE = 100


class DamagedStorageError(Exception):
    """A bag whose files are incomplete; what reads the bag says so with its name."""


def storage_files(bag: Path) -> list[Path]:
    """The storage files in a bag's folder, by name; none if it is no bag."""
    return sorted(path for pattern in STORAGE_PATTERNS for path in bag.glob(pattern))


def storage_sha256(bag: Path) -> str:
    """The SHA-256 of a bag's storage files, one after the other, as hexadecimal."""
    digest = hashlib.sha256()
    for path in storage_files(bag):
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def refuse_cut_off(path: Path) -> None:
    """Refuse an mcap or SQLite file that lacks its end.

    Raises:
        DamagedStorageError: it does.
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
        raise DamagedStorageError(f"{path.name} stops after {size} bytes, before its end")


def _refuse_cut_off_database(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        header = stream.read(SQLITE_HEADER_SIZE)
    page_size = int.from_bytes(header[16:18], "big")
    # 1 stands for 65536, which two bytes cannot hold.
    expected = (65536 if page_size == 1 else page_size) * int.from_bytes(header[28:32], "big")
    # SQLite itself would read what is missing of the last page as zeros.
    if size < max(expected, SQLITE_HEADER_SIZE):
        raise DamagedStorageError(f"{path.name} stops after {size} bytes, before its end")
