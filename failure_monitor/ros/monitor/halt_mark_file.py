# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The file that outlasts a monitor which is halted, or which is killed while commands may pass.

It knows no ROS. A mark is of a monitor by its name, and of the bundle that it ran. Whatever stands
in its place is a mark: a file that is empty, damaged, of another user or boot, a folder, a broken
link.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from failure_monitor.atomic_file import write_json
from failure_monitor.errors import UsageError

NO_FOLDER = "none"
"""In place of a folder: there is no mark, and a halt ends with the process."""

SHORT_HASH = 12
"""Number of digits of a bundle's hash in a mark's name."""

MAX_BYTES = 4096
"""A file that is larger was not written here."""


@dataclass(frozen=True)
class FoundMark:
    """A mark of an earlier monitor.

    Attributes:
        path: where it is.
        since: since when, as text; empty where it does not say.
        stopped: names of the stop actions that stopped something that was not resumed.
    """

    path: Path
    since: str = ""
    stopped: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why a monitor that finds it is halted."""
        since = f" of {self.since}" if self.since else ", damaged or not readable"
        return (
            f"a monitor of this name and bundle was halted, or ended in the middle of a rollout: "
            f"halt mark "
            f"'{self.path}'{since}"
        )


class HaltMarkFile:
    """A monitor's mark. Every method may block for as long as the disk does."""

    def __init__(self, path: Path, monitor: str) -> None:
        """Use a place.

        Args:
            path: the file.
            monitor: the node's full name.
        """
        self.path = path
        self._monitor = monitor
        self._id = secrets.token_hex(8)

    def read(self) -> FoundMark | None:
        """Make the folder, and return the mark that stands there; None without one.

        Raises:
            OSError: the folder is not there, and cannot be made.
        """
        try:
            mode = os.lstat(self.path).st_mode
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return None
        except OSError:
            # It cannot be seen whether one is there.
            return FoundMark(self.path)
        content = self._content() if stat.S_ISREG(mode) else {}
        since, stopped = content.get("since"), content.get("stopped")
        return FoundMark(
            self.path,
            since if isinstance(since, str) else "",
            tuple(map(str, stopped)) if isinstance(stopped, list) else (),
        )

    def ensure(self, stopped: Sequence[str] = ()) -> None:
        """Set the mark unless it stands.

        Args:
            stopped: as for `renew`.

        Raises:
            UnwritableError, OSError: it cannot be set.
        """
        if not os.path.lexists(self.path):
            self.renew(stopped)

    def renew(self, stopped: Sequence[str] = ()) -> None:
        """Set the mark of this monitor in place of any other.

        Args:
            stopped: names of the stop actions that stopped something that is to be resumed.

        Raises:
            UnwritableError, OSError: it cannot be set.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "what": "halt mark of failure_monitor: who starts and finds it halts until ~/reset",
            "monitor": self._monitor,
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
            "process": os.getpid(),
            "stopped": list(stopped),
            "id": self._id,
        }
        write_json(self.path, content)
        # It outlasts a loss of power, too.
        _synchronise(self.path)
        _synchronise(self.path.parent)

    def remove(self) -> None:
        """Take the mark away, if this monitor has set it.

        Raises:
            OSError: it cannot be taken away.
        """
        if self._content().get("id") == self._id:
            self.clear()

    def clear(self) -> None:
        """Take away any mark.

        Raises:
            OSError: it cannot be taken away.
        """
        self.path.unlink(missing_ok=True)

    def _content(self) -> dict[str, object]:
        """Return what the file holds; nothing where it is none, or damaged."""
        try:
            with self.path.open("rb") as file:
                content = json.loads(file.read(MAX_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


def halt_mark_file(folder: str, monitor: str, bundle: str) -> HaltMarkFile | None:
    """Return the mark of a monitor that runs a bundle; None where there is to be none.

    Args:
        folder: where; empty for $ROS_HOME/failure_monitor, or ~/.ros/failure_monitor.
        monitor: the node's full name.
        bundle: the hash of the bundle's contents.

    Raises:
        UsageError: the folder would be another one for a monitor that is started elsewhere.
    """
    path = halt_mark_folder(folder)
    if path is None:
        return None
    # Names have no dots, so that this name is one monitor's only.
    name = monitor.strip("/").replace("/", ".")
    return HaltMarkFile(path / f"{name}.{bundle[:SHORT_HASH]}.json", monitor)


def halt_mark_folder(folder: str, parameter: str = "halt_mark_folder") -> Path | None:
    """Return the folder of the marks; None where there are to be none.

    Args:
        folder: as for `halt_mark_file`.
        parameter: the parameter that names it.

    Raises:
        UsageError: it would be another one for a monitor that is started elsewhere.
    """
    if folder == NO_FOLDER:
        return None
    home = os.environ.get("ROS_HOME") or "~/.ros"
    path = Path(os.path.expanduser(folder or f"{home}/failure_monitor"))
    if not path.is_absolute():
        raise UsageError(
            f"the parameter '{parameter}' stands for '{path}', which depends on where the "
            "monitor is started: name a folder that begins with '/'"
        )
    return path


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Not every file system can.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
