# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A thread for what must delay nobody and may take long, and whose last pieces are waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from failure_monitor.ros.common.queue_worker import QueueWorker

Work = Callable[[], None]

MAX_WAITING = 64
"""Pieces of work that wait, such as for a slow disk."""

MAX_LAST_WAIT = 1.0
"""Seconds for which the end waits for what is still to be done."""


class WorkThread:
    """Does work in order, each piece for as long as it takes."""

    def __init__(self, name: str) -> None:
        """Prepare the thread.

        Args:
            name: its name.
        """
        self._done = threading.Condition()
        self._waiting = 0
        self._worker: QueueWorker[Work] = QueueWorker(
            name, self._work, capacity=MAX_WAITING, on_drop=lambda _: self._finish()
        )

    def submit(self, work: Work) -> None:
        """Have work done after what waits; never waits. Of too much, the oldest gives way."""
        with self._done:
            self._waiting += 1
        self._worker.submit(work)

    def close(self) -> None:
        """Do what waits, and end the thread; waits for a moment."""
        with self._done:
            self._done.wait_for(lambda: not self._waiting, MAX_LAST_WAIT)
        self._worker.stop()

    def _work(self, work: Work) -> None:
        try:
            work()
        finally:
            self._finish()

    def _finish(self) -> None:
        with self._done:
            self._waiting -= 1
            self._done.notify_all()
