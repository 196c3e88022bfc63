# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Decompresses lz4, with the package that rosbags brings."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame  # type: ignore[import-untyped]

MAGIC = b"\x04\x22\x4d\x18"
"""The first bytes of what is compressed."""


def decompress(data: bytes) -> bytes:
    """Return the decompressed bytes of all frames.

    Raises:
        Exception: Any that the package has for damaged bytes.
    """
    with open_frames(io.BytesIO(data)) as reader:
        return reader.read()


def open_compressed(file: Path) -> BinaryIO:
    """Open a compressed file, to read the decompressed bytes.

    Raises:
        OSError: The file cannot be read.
    """
    return open_frames(file)


def open_frames(file: Any) -> BinaryIO:
    """Open a compressed file, by its path or as a stream."""
    reader: BinaryIO = lz4.frame.open(file, "rb")
    return reader
