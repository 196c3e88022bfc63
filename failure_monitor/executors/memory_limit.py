# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How much memory a worker may take."""

from __future__ import annotations

import re
import resource

from failure_monitor.errors import UsageError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SMALLEST = 256 * 2**20
"""Bytes below which a worker cannot even load what it works with."""


def limit_memory(size: int | None) -> None:
    """Let this process take no more memory of its own than so many bytes; None limits nothing.

    What it wants beyond raises MemoryError in Python, and ends most other code.
    """
    if size is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def read_size(text: str) -> int:
    """Return the bytes of a size such as '500M' or '2G'.

    Raises:
        UsageError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"'--worker-memory {text}' is no size: write one such as 500M or 2G")
    return int(float(match[1]) * UNITS[match[2].upper()])


def check_size(size: int | None) -> None:
    """Reject a limit in which nothing can run.

    Raises:
        UsageError: It is too small.
    """
    if size is not None and size < SMALLEST:
        raise UsageError(
            f"a worker cannot run in {size} bytes of memory: give 256M or more (--worker-memory)"
        )
