# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One thread that writes incidents to disk, however long the disk takes.

What waits for it is bounded: a message that does not fit is dropped and counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from failure_monitor.errors import FailureMonitorError
from failure_monitor.incidents.folder import IncidentFolder
from failure_monitor.incidents.memory import RecordedMessage
from failure_monitor.incidents.trigger import Incident
from failure_monitor.ros.recording.incident_bag import BYTES_BETWEEN_CHECKS, IncidentBag

CHECK_PERIOD = 1.0
"""Seconds between two looks at the disk while nothing is written."""


@dataclass(frozen=True)
class WriterState:
    """What the thread has come to.

    Attributes:
        written: incidents that are complete.
        lost: incidents of which nothing, or not all, was written.
        loss: why the last of these.
        given_up: the number, by `begin`, of the last incident of which nothing more is written.
        dropped: messages for which there was no room in memory.
        pending_bytes: what waits to be written takes this much memory.
        last: the newest complete bag; empty before the first.
        seconds: how long the newest took, from its begin until it was complete.
        used: bytes that incidents take on disk.
        free: bytes of the disk that are free.
        disk: why nothing can be written now; empty if it can.
        answered: when the thread was last at work, in seconds of the monotonic clock.
    """

    written: int = 0
    lost: int = 0
    loss: str = ""
    given_up: int = 0
    dropped: int = 0
    pending_bytes: int = 0
    last: str = ""
    seconds: float = 0.0
    used: int = 0
    free: int = 0
    disk: str = ""
    answered: float = 0.0


@dataclass(frozen=True)
class _Begin:
    number: int
    incident: Incident
    began: float
    whole_rollout: bool | None


@dataclass(frozen=True)
class _End:
    why: str


class IncidentWriter:
    """Takes incidents, message by message, and never keeps its caller waiting."""

    def __init__(self, folder: IncidentFolder, *, budget: int, still_topic: str) -> None:
        """Start the thread.

        Args:
            folder: where bags go.
            budget: bytes of memory that may wait to be written.
            still_topic: the topic of pictures; empty for none.
        """
        self._folder = folder
        self._budget = budget
        self._still_topic = still_topic
        self._changed = threading.Condition()
        self._jobs: deque[_Begin | RecordedMessage | _End] = deque()
        self._state = WriterState(answered=time.monotonic())
        self._ends = False
        self._begun = 0
        self._number = 0
        self._bag: IncidentBag | None = None
        self._began = 0.0
        self._dropped_before = 0
        self._thread = threading.Thread(target=self._run, name="incidents", daemon=True)
        self._thread.start()

    @property
    def state(self) -> WriterState:
        """The newest."""
        with self._changed:
            return self._state

    def begin(
        self,
        incident: Incident,
        before: Iterable[RecordedMessage],
        began: float,
        *,
        whole_rollout: bool | None,
    ) -> int:
        """Start a bag with what came before the incident; its number, from 1.

        Args:
            incident: why.
            before: what is remembered, oldest first.
            began: when, in seconds of the monotonic clock.
            whole_rollout: whether the begin of the rollout is remembered; None if nobody knows.
        """
        with self._changed:
            self._begun += 1
            self._jobs.append(_Begin(self._begun, incident, began, whole_rollout))
            for message in before:
                self._append(message)
            self._changed.notify()
            return self._begun

    def add(self, message: RecordedMessage) -> None:
        """Have a message written to the bag that is open."""
        with self._changed:
            self._append(message)
            self._changed.notify()

    def end(self, why: str) -> None:
        """Finish the bag, for this reason."""
        with self._changed:
            self._jobs.append(_End(why))
            self._changed.notify()

    def stop(self, timeout: float) -> None:
        """Write what waits, then end the thread; give up after some seconds."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join(timeout)

    def _append(self, message: RecordedMessage) -> None:
        pending = self._state.pending_bytes + message.cost
        if pending > self._budget:
            self._state = replace(self._state, dropped=self._state.dropped + 1)
            return
        self._jobs.append(message)
        self._state = replace(self._state, pending_bytes=pending)

    # What follows runs on the thread.

    def _run(self) -> None:
        while not self._is_done():
            job = self._next_job()
            try:
                self._do(job)
            except OSError as error:
                where = error.filename or self._folder.path
                self._lose(f"'{where}' cannot be used: {error.strerror or error}")
            except FailureMonitorError as error:
                self._lose(str(error))
            except Exception as error:
                # Whatever it is, the next incident may be written.
                self._lose(f"writing failed: {type(error).__name__}: {error}")
            self._tell(answered=time.monotonic())

    def _is_done(self) -> bool:
        with self._changed:
            return self._ends and not self._jobs and self._bag is None

    def _next_job(self) -> _Begin | RecordedMessage | _End | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._ends, timeout=CHECK_PERIOD)
            if not self._jobs:
                return _End("the recorder was ended") if self._ends else None
            job = self._jobs.popleft()
            if isinstance(job, RecordedMessage):
                left = self._state.pending_bytes - job.cost
                self._state = replace(self._state, pending_bytes=left)
            return job

    def _do(self, job: _Begin | RecordedMessage | _End | None) -> None:
        if isinstance(job, _Begin):
            self._open(job)
        elif isinstance(job, RecordedMessage):
            if self._bag is not None:
                self._bag.write(job)
        elif isinstance(job, _End):
            self._finish(job.why)
        else:
            self._look_at_disk()

    def _open(self, job: _Begin) -> None:
        self._number = job.number
        self._finish("another incident began")
        self._began, self._dropped_before = job.began, self.state.dropped
        self._bag = IncidentBag(
            self._folder,
            job.incident,
            whole_rollout=job.whole_rollout,
            still_topic=self._still_topic,
        )
        self._tell(disk="")

    def _finish(self, why: str) -> None:
        if self._bag is None:
            return
        path = self._bag.finish(why, self.state.dropped - self._dropped_before)
        if self._bag.problem:
            self._count_loss(self._bag.problem)
        self._bag = None
        seconds = time.monotonic() - self._began
        self._tell(written=self.state.written + 1, last=str(path), seconds=seconds)
        self._look_at_disk()

    def _lose(self, why: str) -> None:
        """Give up the bag that is open, if there is one."""
        if self._bag is not None:
            self._bag.abandon()
            self._bag = None
        self._count_loss(why)
        self._tell(disk=why, given_up=self._number)

    def _count_loss(self, why: str) -> None:
        self._tell(lost=self.state.lost + 1, loss=why)

    def _look_at_disk(self) -> None:
        if self._bag is not None:
            return
        try:
            problem = self._folder.problem(BYTES_BETWEEN_CHECKS)
            self._tell(disk=problem, used=self._folder.used(), free=self._folder.free())
        except OSError as error:
            self._tell(disk=f"'{error.filename}' cannot be used: {error.strerror}")

    def _tell(self, **changes: object) -> None:
        with self._changed:
            self._state = replace(self._state, **changes)  # type: ignore[arg-type]
