# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes incidents to disk in a thread of its own, however slow the disk is.

The messages that wait for it are bounded: further ones are dropped and counted.
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
from failure_monitor.ros.recording.bag_writer import OfferedProfiles
from failure_monitor.ros.recording.incident_bag import BYTES_BETWEEN_CHECKS, IncidentBag

CHECK_PERIOD = 1.0
"""Seconds between two checks of the disk while nothing is written."""


@dataclass(frozen=True)
class WriterState:
    """The results of the thread so far.

    Attributes:
        written: The number of complete incidents.
        lost: The number of incidents that were not written, or not completely.
        loss: The reason for the last of these.
        given_up: The number of the last incident that was given up, as returned by `begin`.
        dropped: The number of messages for which there was no room in memory.
        pending_bytes: The bytes of messages that wait to be written.
        last: The newest complete bag; empty before the first.
        seconds: The seconds from the start of the newest incident until it was complete.
        used: The size of all incidents on disk, in bytes.
        free: The free bytes of the disk.
        disk: Why nothing can be written now; empty if it can.
        answered: When the thread last did something, in seconds of the monotonic clock.
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
    reason: str


class IncidentWriter:
    """Accepts incidents message by message without blocking the caller."""

    def __init__(
        self, folder: IncidentFolder, *, budget: int, still_topic: str, offered: OfferedProfiles
    ) -> None:
        """Start the thread.

        Args:
            folder: The folder of incidents.
            budget: The maximum of bytes that may wait to be written.
            still_topic: The topic of the still's pictures; empty for none.
            offered: Returns the quality of service with which a topic is to be played; called on
                the thread.
        """
        self._folder = folder
        self._budget = budget
        self._still_topic = still_topic
        self._offered = offered
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
        """The current state."""
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
        """Start a bag with the messages before the incident, and return its number, from 1.

        Args:
            incident: The reason for the recording.
            before: The messages before the incident, oldest first.
            began: The start, in seconds of the monotonic clock.
            whole_rollout: True if the messages include the start of the rollout; None if unknown.
        """
        with self._changed:
            self._begun += 1
            self._jobs.append(_Begin(self._begun, incident, began, whole_rollout))
            for message in before:
                self._append(message)
            self._changed.notify()
            return self._begun

    def add(self, message: RecordedMessage) -> None:
        """Append a message to the open bag."""
        with self._changed:
            self._append(message)
            self._changed.notify()

    def end(self, reason: str) -> None:
        """Complete the bag, for this reason."""
        with self._changed:
            self._jobs.append(_End(reason))
            self._changed.notify()

    @property
    def is_running(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def stop(self, timeout: float) -> None:
        """Write waiting messages, then end the thread; give up after `timeout` seconds."""
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
                self._give_up(f"'{where}' cannot be used: {error.strerror or error}")
            except FailureMonitorError as error:
                self._give_up(str(error))
            except Exception as error:
                # Whatever the error is, the next incident may succeed.
                self._give_up(f"writing failed: {type(error).__name__}: {error}")
            self._update(answered=time.monotonic())

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
            self._finish(job.reason)
        else:
            self._check_disk()

    def _open(self, job: _Begin) -> None:
        self._number = job.number
        self._finish("another incident began")
        self._began, self._dropped_before = job.began, self.state.dropped
        self._bag = IncidentBag(
            self._folder,
            job.incident,
            whole_rollout=job.whole_rollout,
            still_topic=self._still_topic,
            offered=self._offered,
        )
        self._update(disk="")

    def _finish(self, reason: str) -> None:
        if self._bag is None:
            return
        path = self._bag.finish(reason, self.state.dropped - self._dropped_before)
        if self._bag.problem:
            self._count_loss(self._bag.problem)
        self._bag = None
        seconds = time.monotonic() - self._began
        self._update(written=self.state.written + 1, last=str(path), seconds=seconds)
        self._check_disk()

    def _give_up(self, reason: str) -> None:
        """Give up the open bag, if there is one."""
        if self._bag is not None:
            self._bag.abandon()
            self._bag = None
        self._count_loss(reason)
        self._update(disk=reason, given_up=self._number)

    def _count_loss(self, reason: str) -> None:
        self._update(lost=self.state.lost + 1, loss=reason)

    def _check_disk(self) -> None:
        if self._bag is not None:
            return
        try:
            problem = self._folder.problem(BYTES_BETWEEN_CHECKS)
            self._update(disk=problem, used=self._folder.used(), free=self._folder.free())
        except OSError as error:
            self._update(disk=f"'{error.filename}' cannot be used: {error.strerror}")

    def _update(self, **changes: object) -> None:
        with self._changed:
            self._state = replace(self._state, **changes)  # type: ignore[arg-type]
