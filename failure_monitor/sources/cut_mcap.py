# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is left of an mcap file that was cut off, as an mcap file that can be opened.

A reader opens mcap from its end (https://mcap.dev/spec): what was cut off there is closed anew
behind the last whole record. A chunk that was cut through is lost.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x89MCAP0\r\n"
RECORD_HEADER_SIZE = 9
"""Bytes before a record's content: one of its kind, eight of its length."""
FOOTER_WITHOUT_SUMMARY = b"\x02" + (20).to_bytes(8, "little") + bytes(20) + MAGIC


def close_cut_mcap(path: Path, copy: Path) -> None:
    """Write what is left of the mcap file `path` to `copy`, with an end."""
    shutil.copyfile(path, copy)
    with copy.open("r+b") as stream:
        end = _end_of_whole_records(stream, path.stat().st_size)
        stream.truncate(end)
        stream.seek(end)
        stream.write(FOOTER_WITHOUT_SUMMARY)


def _end_of_whole_records(stream: BinaryIO, size: int) -> int:
    end = len(MAGIC)
    while end + RECORD_HEADER_SIZE <= size:
        stream.seek(end + 1)
        length = int.from_bytes(stream.read(8), "little")
        if end + RECORD_HEADER_SIZE + length > size:
            break
        end += RECORD_HEADER_SIZE + length
    return min(end, size)
