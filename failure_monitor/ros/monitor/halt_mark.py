# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the halt mark as the alarm needs it, on a thread of its own.

A disk that is slow, full or gone delays neither heartbeat nor stop: nothing is permitted before
the mark stands, and what stops the robot writes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from failure_monitor.atomic_file import UnwritableError
from failure_monitor.ros.common.queue_worker import QueueWorker
from failure_monitor.ros.monitor.halt_mark_file import NO_FOLDER, FoundMark, HaltMarkFile

CHECK_PERIOD = 1.0
"""Seconds between two checks that the mark still stands, and between two tries to set it."""

MAX_LAST_WAIT = 1.0
"""Seconds for which the end of a process waits for the disk."""

REMEDY = (
    "nothing is permitted without it: mend its folder, or name another one by 'halt_mark_folder'"
)


@dataclass(frozen=True)
class _Job:
    """What the thread has to do.

    Attributes:
        number: of the job.
        wanted: whether the mark must stand; None to read whether it does.
        reset: whether a mark that stands is another monitor's no more.
        stopped: names of the stop actions that stopped something, to be noted in the mark.
    """

    number: int
    wanted: bool | None
    reset: bool = False
    stopped: tuple[str, ...] = ()


class HaltMark:
    """The mark of one monitor, from its start to its end."""

    def __init__(self, file: HaltMarkFile | None, wake: Callable[[], None]) -> None:
        """Read whether it stands.

        Args:
            file: the mark; None where there is to be none.
            wake: called by the thread when a job is done.
        """
        self._file = file
        self._wake = wake
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._job = _Job(1, None)
        self._submitted_at: float | None = None
        self._is_reset = False
        # Written by the thread.
        self._has_read = False
        self._finished = 0
        self._succeeded = 0
        self._error = ""
        self._found: FoundMark | None = None
        self._noted: tuple[str, ...] = ()
        self._worker = QueueWorker("halt mark", self._work)
        if file is not None:
            self._worker.submit(self._job)

    @property
    def found(self) -> FoundMark | None:
        """The mark that stood when the monitor started, until it is reset."""
        with self._lock:
            return self._found

    @property
    def is_known(self) -> bool:
        """Whether it is known if a mark stood when the monitor started."""
        with self._lock:
            return self._file is None or self._has_read

    @property
    def text(self) -> str:
        """Where the mark is, and whether it stands, for the alarm's values."""
        if self._file is None:
            return f"{NO_FOLDER}: a halt ends with the process"
        with self._lock:
            stands = self._job.wanted and self._succeeded == self._job.number
        return f"{'stands' if stands else 'does not stand'}: {self._file.path}"

    def update(self, wanted: bool, now: float, stopped: tuple[str, ...] = ()) -> None:
        """Keep the mark as it is needed; called at every heartbeat, and never waits.

        Args:
            wanted: whether the mark must stand.
            now: the time.
            stopped: names of the stop actions that stopped something that is to be resumed.
        """
        if self._file is None:
            return
        if self._submitted_at is None:
            self._submitted_at = now
        is_due = now - self._submitted_at >= CHECK_PERIOD and self._is_idle
        if not self.is_known:
            if is_due:
                self._submit(None, now)
        elif wanted != self._job.wanted or self._is_reset:
            self._submit(wanted, now, reset=self._is_reset, stopped=stopped)
            self._is_reset = False
        elif stopped != self._job.stopped or (is_due and (wanted or self._is_failing)):
            # The same number: what stands already is not doubted while it is checked.
            self._submitted_at = now
            self._job = replace(self._job, stopped=stopped)
            self._worker.submit(self._job)

    def reset(self) -> None:
        """Take what stands for a mark of this monitor from now on, as the halt is reset."""
        self._is_reset = True
        with self._lock:
            self._found = None

    def problem(self, now: float) -> str:
        """Return why nothing can be permitted; empty if the mark stands, or need not."""
        if self._file is None:
            return ""
        with self._lock:
            if self._error:
                return f"the halt mark cannot be kept: {self._error}; {REMEDY}"
            is_done = self._succeeded == self._job.number and not self._is_reset
            if is_done or self._job.wanted is False:
                return ""
        since = now if self._submitted_at is None else self._submitted_at
        slow = f" for {now - since:.0f} s; {REMEDY}" if now - since > CHECK_PERIOD else ""
        return f"the halt mark '{self._file.path}' is not confirmed{slow}"

    def close(self, wanted: bool) -> None:
        """Leave the mark as it is needed, and end the thread; waits for a moment.

        Args:
            wanted: whether the mark must stand.
        """
        if self._file is not None and self.is_known and not wanted:
            self._submit(False, 0.0, reset=self._is_reset)
            with self._done:
                self._done.wait_for(lambda: self._finished >= self._job.number, MAX_LAST_WAIT)
        self._worker.stop()

    def _submit(
        self,
        wanted: bool | None,
        now: float,
        *,
        reset: bool = False,
        stopped: tuple[str, ...] = (),
    ) -> None:
        with self._lock:
            # A reset that the disk has not carried out yet is still to be carried out.
            reset |= self._job.reset and self._succeeded != self._job.number
            self._job = _Job(self._job.number + 1, wanted, reset, stopped)
            self._error = ""
        self._submitted_at = now
        self._worker.submit(self._job)

    @property
    def _is_idle(self) -> bool:
        with self._lock:
            return self._finished >= self._job.number

    @property
    def _is_failing(self) -> bool:
        with self._lock:
            return bool(self._error)

    # What follows runs on the thread.

    def _work(self, job: _Job) -> None:
        error = ""
        try:
            self._do(job)
        except UnwritableError as unwritable:
            error = str(unwritable)
        except Exception as failed:
            error = str(failed) or type(failed).__name__
        with self._done:
            self._finished = max(self._finished, job.number)
            if job.number == self._job.number:
                self._error = error
                self._succeeded = 0 if error else job.number
            self._done.notify_all()
        self._wake()

    def _do(self, job: _Job) -> None:
        assert self._file is not None
        if job.wanted is None:
            found = self._file.read()
            with self._lock:
                self._has_read, self._found = True, found
            self._noted = () if found is None else found.stopped
        elif job.wanted and job.reset:
            self._file.renew(job.stopped)
            self._noted = job.stopped
        elif job.wanted:
            self._file.ensure(job.stopped)
            self._note(job.stopped)
        elif job.reset:
            self._file.clear()
        else:
            self._file.remove()

    def _note(self, stopped: tuple[str, ...]) -> None:
        """Note what was stopped. What cannot be noted is no reason to stop anything."""
        assert self._file is not None
        if stopped != self._noted:
            self._noted = stopped
            with suppress(UnwritableError, OSError):
                self._file.renew(stopped)
