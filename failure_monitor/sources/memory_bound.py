# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Limits the memory that reading a file may take.

A damaged or hostile file can claim any length, and a few bytes can unpack to any number of bytes.
With this limit a parser that believes it fails with MemoryError, and the machine stays usable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such limits.
    resource = None  # type: ignore[assignment]

STATUS = Path("/proc/self/status")


@contextmanager
def bounded_memory(extra: int) -> Iterator[None]:
    """Limit this process to `extra` bytes beyond what it holds now; no limit outside Linux."""
    held = _data_held()
    if resource is None or held is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = held + extra
    bounds = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([bound, *bounds]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_held() -> int | None:
    """Return the bytes of this process that the limit counts; None if unknown."""
    try:
        lines = STATUS.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))
    except (OSError, StopIteration, ValueError):
        return None
