# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Opens the intact part of a truncated mcap file.

Readers of mcap start at its end (https://mcap.dev/spec). Here an end is added behind the last
complete record. An incomplete chunk is lost.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"\x89MCAP0\r\n"
RECORD_HEADER_SIZE = 9
"""Bytes before the content of a record: one for its kind, eight for its length."""
FOOTER_WITHOUT_SUMMARY = b"\x02" + (20).to_bytes(8, "little") + bytes(20) + MAGIC


class TruncatedMcap:
    """Replaces the path of a truncated mcap file, as far as the readers of rosbags use a path."""

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is read yet."""
        self._path = path
        self.suffix = ".mcap"

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        """Return whether the file exists."""
        return self._path.exists()

    def is_dir(self) -> bool:
        """Return False: it is a file."""
        return False

    def open(self, mode: str) -> BinaryIO:
        """Open the complete records of the file, followed by an end."""
        file = self._path.open("rb")
        end = _end_of_whole_records(file, self._path.stat().st_size)
        spliced: Any = _Spliced(file, end, FOOTER_WITHOUT_SUMMARY)
        return io.BufferedReader(spliced)


class _Spliced(io.RawIOBase):
    """The first bytes of a file, followed by other bytes."""

    def __init__(self, file: BinaryIO, end: int, appended: bytes) -> None:
        self._file = file
        self._end = end
        self._appended = appended
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if self._position < self._end:
            self._file.seek(self._position)
            data = self._file.read(min(len(buffer), self._end - self._position))
        else:
            begin = self._position - self._end
            data = self._appended[begin : begin + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()

    @property
    def _size(self) -> int:
        return self._end + len(self._appended)


def _end_of_whole_records(stream: BinaryIO, size: int) -> int:
    end = len(MAGIC)
    while end + RECORD_HEADER_SIZE <= size:
        stream.seek(end + 1)
        length = int.from_bytes(stream.read(8), "little")
        if end + RECORD_HEADER_SIZE + length > size:
            break
        end += RECORD_HEADER_SIZE + length
    return min(end, size)
