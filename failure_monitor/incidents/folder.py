# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of incident bags: their names, how much of the disk they take, which go first.

An incident is numbered, as clocks of robots may be wrong. The oldest goes first. One that was
labelled is somebody's data and stays; so does every folder that is not called like an incident.
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
"""The folder, inside that of the bags, of bags that are not complete."""

OUTCOME_STEM = "outcome"
"""A bag with a storage file of this name was labelled."""

_NAME = re.compile(r"incident_(\d{4,})_\d{8}T\d{6}Z")


class NoRoomError(FailureMonitorError):
    """Nothing can be written: the folder cannot be used, or the disk has no room for more."""


@dataclass(frozen=True)
class KeptIncident:
    """A bag in the folder.

    Attributes:
        path: its folder.
        number: larger is newer.
        size: bytes on disk.
        is_labelled: whether somebody has said how its rollout ended.
    """

    path: Path
    number: int
    size: int
    is_labelled: bool


class IncidentFolder:
    """Keeps incidents within a budget of bytes, and some of the disk free."""

    def __init__(self, path: Path, *, budget: int, least_free: int) -> None:
        """The folder need not exist yet.

        Args:
            path: of the folder.
            budget: bytes that all incidents may take together.
            least_free: bytes of the disk that stay free, whoever uses the rest.
        """
        self.path = path
        self._budget = budget
        self._least_free = least_free

    def incidents(self) -> list[KeptIncident]:
        """The bags, complete or not, oldest first.

        Raises:
            OSError: the folder cannot be read.
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
        """Where the next bag goes.

        Args:
            seconds: the time of the incident, since 1970.
        """
        incidents = self.incidents()
        number = incidents[-1].number + 1 if incidents else 0
        time = datetime.fromtimestamp(seconds, timezone.utc)
        return self.path / f"incident_{number:04d}_{time:%Y%m%dT%H%M%SZ}"

    def make_room(self, needed: int, *, spare: Path | None = None) -> int:
        """Remove the oldest incidents until as many bytes can be written; how many then can.

        Nothing is removed in vain.

        Args:
            needed: bytes.
            spare: the bag that is being written.

        Raises:
            NoRoomError: they cannot, whatever is removed.
            OSError: the folder cannot be used.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._refuse_what_cannot_be_written_to(self.path)
        kept = self.incidents()
        removable = [one for one in kept if not one.is_labelled and one.path.name != _name(spare)]
        used, free = sum(one.size for one in kept), self.free()
        self._refuse_if_in_vain(used, free, sum(one.size for one in removable), needed)
        while self._room(used, free) < needed:
            oldest = removable.pop(0)
            shutil.rmtree(oldest.path)
            used, free = used - oldest.size, free + oldest.size
        return self._room(used, free)

    def problem(self, needed: int) -> str:
        """Why no incident could be written now, even if older ones were removed; empty if it could.

        Args:
            needed: bytes that must have room for a bag to be begun.

        Raises:
            OSError: the folder cannot be read.
        """
        kept = self.incidents()
        removable = sum(one.size for one in kept if not one.is_labelled)
        try:
            self._refuse_what_cannot_be_written_to(self._existing)
            self._refuse_if_in_vain(sum(one.size for one in kept), self.free(), removable, needed)
        except NoRoomError as error:
            return str(error)
        return ""

    def used(self) -> int:
        """Bytes that all incidents take.

        Raises:
            OSError: the folder cannot be read.
        """
        return sum(kept.size for kept in self.incidents())

    def free(self) -> int:
        """Bytes of the disk that are free.

        Raises:
            OSError: the disk does not answer.
        """
        return shutil.disk_usage(self._existing).free

    @property
    def _existing(self) -> Path:
        """The folder, or where it would be made."""
        return next(path for path in (self.path, *self.path.absolute().parents) if path.exists())

    def _room(self, used: int, free: int) -> int:
        return min(self._budget - used, free - self._least_free)

    def _refuse_what_cannot_be_written_to(self, folder: Path) -> None:
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise NoRoomError(
                f"'{folder}' is no folder that can be written to: mount it for writing, change its "
                "permissions, or set 'output' to another"
            )

    def _refuse_if_in_vain(self, used: int, free: int, removable: int, needed: int) -> None:
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
            f"the disk of '{self.path}' has {_megabytes(free)} free and shall keep "
            f"{_megabytes(self._least_free)}, and a bag needs {_megabytes(needed)}: make room, or "
            "lower 'least_free_megabytes'"
        )


def _name(path: Path | None) -> str:
    return "" if path is None else path.name


def _size(folder: Path) -> int:
    size = 0
    for entry in folder.rglob("*"):
        # It may have been finished, or removed, meanwhile.
        with suppress(FileNotFoundError):
            size += entry.lstat().st_size
    return size


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
