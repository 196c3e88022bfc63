# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Appends to a monitor's rollout log on the thread of the disk."""

from __future__ import annotations

from pathlib import Path

from failure_monitor.rollout_log.log_file import RolloutLogError, append, log_path
from failure_monitor.rollout_log.record import RolloutRecord
from failure_monitor.ros.monitor.halt_mark_file import halt_mark_folder
from failure_monitor.ros.monitor.work_thread import WorkThread


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
        """Why the last record was not written; empty if it was."""
        self._disk = disk

    def write(self, record: RolloutRecord) -> None:
        """Append a record; never waits."""
        self._disk.submit(lambda: self._append(record))

    def _append(self, record: RolloutRecord) -> None:
        try:
            append(self.path, record)
        except RolloutLogError as error:
            self.problem = str(error)
        else:
            self.problem = ""


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
