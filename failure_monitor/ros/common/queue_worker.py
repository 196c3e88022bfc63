# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A thread for work that must not delay the node, and a bounded queue of jobs for it.

With a capacity of one job the newest wins: it replaces the one that waits.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")

STOP_TIMEOUT = 1.0
"""Seconds for which `QueueWorker.stop` waits for the thread."""


class QueueWorker(Generic[Job]):
    """One thread that does jobs in order; where too many wait, the oldest gives way."""

    def __init__(
        self,
        name: str,
        work: Callable[[Job], None],
        *,
        capacity: int = 1,
        on_error: Callable[[Exception], None] = traceback.print_exception,
        on_drop: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """Prepare the thread, which starts with the first job or with `start`.

        Args:
            name: the thread's name.
            work: does a job; called by the thread.
            capacity: number of jobs that may wait.
            on_error: called by the thread with what `work` raises; the thread goes on.
            on_drop: called by `submit` with a job that gave way to a newer one.
        """
        self._name = name
        self._work = work
        self._capacity = capacity
        self._on_error = on_error
        self._on_drop = on_drop
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._stops = False
        self._thread: threading.Thread | None = None

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called; long work may end early then."""
        return self._stops

    def start(self) -> None:
        """Start the thread unless it runs or was stopped."""
        if self._thread is None and not self._stops:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def submit(self, job: Job) -> None:
        """Have a job done after those that wait; never waits."""
        self.start()
        with self._changed:
            dropped = [self._waiting.popleft()] if len(self._waiting) == self._capacity else []
            self._waiting.append(job)
            self._changed.notify()
        for one in dropped:
            self._on_drop(one)

    def clear(self) -> None:
        """Drop the jobs that wait; the present one is finished."""
        with self._changed:
            self._waiting.clear()

    def stop(self) -> None:
        """End the thread after the present job, and wait for it for at most `STOP_TIMEOUT`."""
        with self._changed:
            self._stops = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT)

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            try:
                self._work(job)
            except Exception as error:
                self._on_error(error)

    def _next_job(self) -> Job | None:
        """Wait for a job and return it; None after the stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stops)
            return None if self._stops else self._waiting.popleft()
