# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Work for executors, in a module that workers can import."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

from failure_monitor.errors import FailureMonitorError
from failure_monitor.executors.present_work import advance, on_worker

logger = logging.getLogger("work")


class RefusedError(FailureMonitorError):
    """What work raises."""


def add(one: int, other: int) -> int:
    logger.warning("added %d", other)
    advance(0.5)
    return one + other


def refuse_odd(delays: dict[int, float], item: int) -> int:
    time.sleep(delays.get(item, 0.0))
    if item % 2:
        raise RefusedError(f"{item} is odd")
    return item


def wait_at_first(seconds: float, item: int) -> int:
    time.sleep(seconds if item == 0 else 0.0)
    return item


def end_on(folder: Path, item: str) -> str:
    """End the process on 'deadly', and the first time on 'once'."""
    logger.warning("begun")
    note = folder / item
    if item == "deadly" or (item == "once" and not note.exists()):
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def take_memory(size: int, item: int) -> int:
    return len(bytearray(size * item))


def tell_worker(_: object, path: Path) -> str:
    return f"{path.exists()}{on_worker()}"


def gpus_here(_: object, item: int) -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def undated(folder: Path) -> dict[str, bytes]:
    """Return a bundle's files, but for its date."""
    return {
        path.name: b"\n".join(
            line for line in path.read_bytes().split(b"\n") if not line.startswith(b"created:")
        )
        for path in folder.iterdir()
    }
