# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Worker processes that end with this one, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

# Spawned, not forked: torch and ONNX Runtime do not survive a fork with their threads.
CONTEXT = multiprocessing.get_context("spawn")


# Ctrl-C reaches all processes of a terminal. The workers ignore it: this process ends them.
@contextmanager
def worker_processes(
    jobs: int, begin: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Start worker processes; they end with the context, at once if it ends by an exception.

    Args:
        jobs: The number of processes.
        begin: A function that each calls first; it must be importable by its name.
        arguments: The arguments of `begin`.
    """
    others = set(multiprocessing.active_children())
    workers = _Workers(jobs, mp_context=CONTEXT, initializer=_begin, initargs=(begin, arguments))
    try:
        yield workers
    except BaseException:
        # Work that has not begun is dropped before its processes end: the thread that manages them
        # would otherwise report their end to work that was cancelled, which is an error in it.
        workers.shutdown(wait=False, cancel_futures=True)
        children = set(multiprocessing.active_children()) - others
        for process in children:
            process.terminate()
        for process in children:
            process.join()
        raise
    workers.shutdown()


class _Workers(ProcessPoolExecutor):
    """An executor whose processes ignore interrupts, even while they start."""

    def submit(self, *arguments: Any, **settings: Any) -> Future[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(*arguments, **settings)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
