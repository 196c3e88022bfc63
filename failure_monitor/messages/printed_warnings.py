# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a library in C prints on standard error while it works, and tells in no other way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from re import Pattern
from typing import TypeVar

STANDARD_ERROR = 2

Result = TypeVar("Result")

_one_at_a_time = threading.Lock()


def with_warnings(work: Callable[[], Result], warning: Pattern[bytes]) -> tuple[Result, list[str]]:
    """Return the result of some work, and the warnings that it printed on standard error.

    Standard error belongs to the whole process: what other threads print meanwhile reaches it
    when the work is done.

    Args:
        work: what may print; it must not wait.
        warning: what a warning looks like, with the end of its line; all else is passed on.
    """
    with _one_at_a_time:
        file = os.memfd_create("standard_error")
        try:
            result = _work_with(work, file)
            printed = _content(file)
        finally:
            os.close(file)
    # Another thread may have printed half a line before.
    others = warning.sub(b"", printed)
    if others:
        with suppress(OSError):
            os.write(STANDARD_ERROR, others)
    return result, [each.decode(errors="replace").strip() for each in warning.findall(printed)]


def _work_with(work: Callable[[], Result], standard_error: int) -> Result:
    """Return the result of some work, during which standard error is another file."""
    try:
        original = os.dup(STANDARD_ERROR)
    except OSError:
        # The process was started without it.
        original = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(standard_error, STANDARD_ERROR)
        return work()
    finally:
        os.dup2(original, STANDARD_ERROR)
        os.close(original)


def _content(file: int) -> bytes:
    size = os.lseek(file, 0, os.SEEK_END)
    return os.pread(file, size, 0) if size else b""
