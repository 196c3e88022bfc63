# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Decompresses zstd with the package that is installed.

Python has one from 3.14 on. Before, rosbags brings `backports.zstd`, and up to its version 0.11.1
`zstandard`. In a ROS workspace rosbags is all that package.xml can name.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from failure_monitor.missing_package import MissingPackageError

MAGIC = b"\x28\xb5\x2f\xfd"
"""The first bytes of what is compressed."""

zstd: Any = None
zstandard: Any = None
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    try:
        from backports import zstd
    except ModuleNotFoundError:
        with suppress(ModuleNotFoundError):
            import zstandard  # type: ignore[no-redef]


def decompress(data: bytes) -> bytes:
    """Return the decompressed bytes.

    Raises:
        MissingPackageError: No package that decompresses zstd is installed.
        Exception: Any that the package has for damaged bytes.
    """
    if zstd is not None:
        return bytes(zstd.decompress(data))
    frames = []
    while data:
        frame = _decompressor().decompressobj()
        frames.append(frame.decompress(data))
        if not frame.eof:
            raise EOFError("the compressed bytes are cut off")
        data = frame.unused_data
    return b"".join(frames)


def open_compressed(file: Path) -> BinaryIO:
    """Open a compressed file, to read the decompressed bytes.

    Raises:
        MissingPackageError: No package that decompresses zstd is installed.
        OSError: The file cannot be read.
    """
    if zstd is not None:
        return io.BufferedReader(zstd.open(file, "rb"))
    decompressor = _decompressor()
    reader = decompressor.stream_reader(file.open("rb"), read_across_frames=True, closefd=True)
    return io.BufferedReader(reader)


def _decompressor() -> Any:
    if zstandard is None:
        raise MissingPackageError("backports.zstd")
    return zstandard.ZstdDecompressor()
