# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of incident bags: their names, their size on disk, and which are removed first.

Incidents are numbered, as the clocks of robots may be wrong. The oldest is removed first. Labelled
incidents are never removed, and neither are folders that are not named like an incident.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from failure_monitor.errors import FailureMonitorError

UNFINISHED = ".part"
"""The name of the subfolder that holds incomplete bags."""

OUTCOME_STEM = "outcome"
"""The stem of the storage file that makes a bag a labelled one."""

_NAME = re.compile(r"incident_(\d{4,})_(\d{8}T\d{6})Z")


class NoRoomError(FailureMonitorError):
    """The folder cannot be used, or the disk has no room for an incident."""


@dataclass(frozen=True)
class KeptIncident:
    """A bag in the folder.

    Attributes:
        path: The folder of the bag.
        number: The number of the incident; newer ones have larger numbers.
        size: The size on disk in bytes.
        is_labelled: True if the outcome of its rollout was added.
    """

    path: Path
    number: int
    size: int
    is_labelled: bool


class IncidentFolder:
    """Keeps incidents within a budget, and a part of the disk free."""

    def __init__(self, path: Path, *, budget: int, min_free: int) -> None:
        """Use a folder, which need not exist yet.

        Args:
            path: The path of the folder.
            budget: The maximum size of all incidents together, in bytes.
            min_free: The bytes of the disk that must stay free.
        """
        self.path = path
        self._budget = budget
        self._min_free = min_free

    def incidents(self) -> list[KeptIncident]:
        """Return all bags, also incomplete ones, oldest first.

        Raises:
            OSError: The folder cannot be read.
        """
        if not self.path.exists():
            return []
        folders = [*self.path.iterdir(), *self.path.glob(f"{UNFINISHED}/*")]
        named = [(match, folder) for folder in folders if (match := _NAME.fullmatch(folder.name))]
        return sorted(
            (
                KeptIncident(
                    path=folder,
                    number=int(match[1]),
                    size=_size(folder),
                    is_labelled=any(folder.glob(f"{OUTCOME_STEM}.*")),
                )
                for match, folder in named
                if folder.is_dir() and not folder.is_symlink()
            ),
            key=lambda kept: kept.number,
        )

    def next_path(self, seconds: float) -> Path:
        """Return the path of the next bag.

        Args:
            seconds: The time of the incident, in seconds since 1970.
        """
        incidents = self.incidents()
        number = incidents[-1].number + 1 if incidents else 0
        time = datetime.fromtimestamp(seconds, timezone.utc)
        return self.path / f"incident_{number:04d}_{time:%Y%m%dT%H%M%SZ}"

    def make_room(self, needed: int, *, spare: Path | None = None) -> int:
        """Remove the oldest incidents until there is room; return the bytes that can be written.

        If there cannot be room for the needed bytes, nothing is removed.

        Args:
            needed: The bytes that must have room.
            spare: The bag that is being written.

        Raises:
            NoRoomError: There would be no room, whatever is removed.
            OSError: The folder cannot be used.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._reject_unwritable(self.path)
        kept = self.incidents()
        removable = [one for one in kept if not one.is_labelled and one.path.name != _name(spare)]
        used, free = sum(one.size for one in kept), self.free()
        self._reject_without_room(used, free, sum(one.size for one in removable), needed)
        while self._room(used, free) < needed:
            oldest = removable.pop(0)
            shutil.rmtree(oldest.path)
            used, free = used - oldest.size, free + oldest.size
        return self._room(used, free)

    def problem(self, needed: int) -> str:
        """Return why no incident could be written now; empty if one could.

        Args:
            needed: The bytes that must have room, if necessary in place of older incidents.

        Raises:
            OSError: The folder cannot be read.
        """
        kept = self.incidents()
        removable = sum(one.size for one in kept if not one.is_labelled)
        try:
            self._reject_unwritable(self._existing)
            self._reject_without_room(
                sum(one.size for one in kept), self.free(), removable, needed
            )
        except NoRoomError as error:
            return str(error)
        return ""

    def used(self) -> int:
        """Return the size of all incidents in bytes.

        Raises:
            OSError: The folder cannot be read.
        """
        return sum(kept.size for kept in self.incidents())

    def free(self) -> int:
        """Return the free bytes of the disk.

        Raises:
            OSError: The disk cannot be read.
        """
        return shutil.disk_usage(self._existing).free

    @property
    def _existing(self) -> Path:
        """The folder, or the closest existing one above it."""
        return next(path for path in (self.path, *self.path.absolute().parents) if path.exists())

    def _room(self, used: int, free: int) -> int:
        return min(self._budget - used, free - self._min_free)

    def _reject_unwritable(self, folder: Path) -> None:
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise NoRoomError(
                f"'{folder}' is not a writable folder: mount it for writing, change its "
                "permissions, or set 'output' to another"
            )

    def _reject_without_room(self, used: int, free: int, removable: int, needed: int) -> None:
        staying = used - removable
        if self._room(staying, free + removable) >= needed:
            return
        if self._budget - staying < needed:
            raise NoRoomError(
                f"labelled incidents, and one being written, take {_megabytes(staying)} of the "
                f"{_megabytes(self._budget)} that '{self.path}' may hold: move them elsewhere, or "
                "raise 'disk_megabytes'"
            )
        raise NoRoomError(
            f"the disk of '{self.path}' has {_megabytes(free)} free, must keep "
            f"{_megabytes(self._min_free)} free, and a bag needs {_megabytes(needed)}: make "
            "room, or lower 'least_free_megabytes'"
        )


def is_incident(name: str) -> bool:
    """Return whether a folder of this name is the bag of an incident."""
    return _NAME.fullmatch(name) is not None


def incident_time(name: str) -> float | None:
    """Return when an incident began, by its folder's name, in seconds since 1970; None if never.

    Args:
        name: as of `IncidentFolder.next_path`.
    """
    match = _NAME.fullmatch(name)
    try:
        time = datetime.strptime(match[2] if match else "", "%Y%m%dT%H%M%S")
    except ValueError:
        return None
    return time.replace(tzinfo=timezone.utc).timestamp()


def _name(path: Path | None) -> str:
    return "" if path is None else path.name


def _size(folder: Path) -> int:
    size = 0
    for entry in folder.rglob("*"):
        # It may have been moved or removed meanwhile.
        with suppress(FileNotFoundError):
            size += entry.lstat().st_size
    return size


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
