# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that work beside this one, and end with it however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

# Spawned, not forked: torch and ONNX Runtime do not survive a fork with their threads.
CONTEXT = multiprocessing.get_context("spawn")


@contextmanager
def worker_processes(
    jobs: int, begin: Callable[..., None] = lambda: None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Some processes to give work to; whatever interrupts the context ends them at once.

    Args:
        jobs: how many.
        begin: what each does first; importable by its name.
        arguments: of `begin`.
    """
    others = set(multiprocessing.active_children())
    workers = ProcessPoolExecutor(
        jobs, mp_context=CONTEXT, initializer=_begin, initargs=(begin, arguments)
    )
    try:
        yield workers
    except BaseException:
        # Nobody waits for what is still being done.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        workers.shutdown(cancel_futures=True)
        raise
    workers.shutdown()


def _begin(begin: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # Ctrl-C goes to all processes of a terminal; it is the command that then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
