# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Appends to a monitor's rollout log on the thread of the disk.

What a full disk or a folder that is gone does not take is written with the next record.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

from failure_monitor.rollout_log.log_file import (
    RecordTooLongError,
    RolloutLogError,
    append,
    log_path,
)
from failure_monitor.rollout_log.record import RolloutRecord
from failure_monitor.ros.monitor.halt_mark_file import halt_mark_folder
from failure_monitor.ros.monitor.work_thread import WorkThread

MAX_WAITING = 100
"""Number of records that wait for a disk that takes none, or too slowly."""


class RolloutLogWriter:
    """The rollout log of one monitor and bundle."""

    def __init__(self, path: Path, disk: WorkThread) -> None:
        """Use a file.

        Args:
            path: the file.
            disk: the thread that writes it.
        """
        self.path = path
        self.problem = ""
        """Why the last record was not written, or that others were lost; empty if all was."""
        self._disk = disk
        self._lock = Lock()
        self._waiting: OrderedDict[str, RolloutRecord] = OrderedDict()
        self._lost = 0

    def write(self, record: RolloutRecord) -> None:
        """Append a record; never waits. Of one rollout the newest that waits is written."""
        with self._lock:
            self._waiting[record.rollout] = record
            self._waiting.move_to_end(record.rollout)
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)
                self._lost += 1
        self._disk.submit(self._write_waiting)

    def _write_waiting(self) -> None:
        problem = ""
        while (record := self._next()) is not None:
            try:
                append(self.path, record)
            except RolloutLogError as error:
                problem = str(error)
                if not isinstance(error, RecordTooLongError):
                    break
            with self._lock:
                if self._waiting.get(record.rollout) is record:
                    del self._waiting[record.rollout]
        if self._lost and not problem:
            problem = f"{self._lost} records were lost, as the disk did not take them in time"
        self.problem = problem

    def _next(self) -> RolloutRecord | None:
        with self._lock:
            return next(iter(self._waiting.values()), None)


def open_log(
    promise_folder: str, monitor: str, bundle: str, disk: WorkThread
) -> RolloutLogWriter | None:
    """Return the log of a monitor; None where nothing is to be kept.

    Args:
        promise_folder: the parameter of that name.
        monitor: the node's full name.
        bundle: the bundle's SHA-256.
        disk: the thread that writes it.
    """
    folder = halt_mark_folder(promise_folder, "promise_folder")
    return None if folder is None else RolloutLogWriter(log_path(folder, monitor, bundle), disk)
