# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A thread for work that must not delay the node: of the jobs that wait, the newest one is done."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")

STOP_TIMEOUT = 1.0
"""Seconds for which `NewestWinsWorker.stop` waits for the thread."""


class NewestWinsWorker(Generic[Job]):
    """One thread and one place for a waiting job, which a newer job replaces."""

    def __init__(
        self,
        name: str,
        work: Callable[[Job], None],
        *,
        on_error: Callable[[Exception], None] = traceback.print_exception,
        merge: Callable[[Job, Job], Job] = lambda waiting, newer: newer,
    ) -> None:
        """Prepare the thread, which starts with the first job or with `start`.

        Args:
            name: the thread's name.
            work: does a job; called by the thread.
            on_error: called by the thread with what `work` raises; the thread goes on.
            merge: returns the job that waits from now on, given the waiting and the newer one;
                called by `submit`.
        """
        self._name = name
        self._work = work
        self._on_error = on_error
        self._merge = merge
        self._changed = threading.Condition()
        self._waiting: Job | None = None
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
        """Have a job done as soon as the present one is; never waits."""
        self.start()
        with self._changed:
            self._waiting = job if self._waiting is None else self._merge(self._waiting, job)
            self._changed.notify()

    def clear(self) -> None:
        """Drop the job that waits, if any; the present one is finished."""
        with self._changed:
            self._waiting = None

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
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._stops)
            job, self._waiting = self._waiting, None
            return None if self._stops else job
