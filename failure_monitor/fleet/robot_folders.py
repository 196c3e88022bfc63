# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What lies in the folders of a fleet: rollout logs, promises' files, bundles and incidents.

A robot's name is that of the folder below the source in which its files lie.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from failure_monitor.bundle.folder import DESCRIPTION_FILE
from failure_monitor.errors import UsageError
from failure_monitor.incidents.folder import UNFINISHED, is_incident
from failure_monitor.promise.state_file import PROMISE_SUFFIX
from failure_monitor.rollout_log.log_file import SUFFIX
from failure_monitor.sources.addresses import is_address, located, shown


@dataclass(frozen=True)
class Unread:
    """Something that is not on the page.

    Attributes:
        place: where it lies.
        reason: why.
        robot: whose it is; empty if unknown.
    """

    place: str
    reason: str
    robot: str = ""


@dataclass
class RobotFolders:
    """The files of one robot.

    Attributes:
        robot: its name.
        logs: the rollout logs.
        promises: the promises' files.
        incidents: the bags of incidents.
    """

    robot: str
    logs: list[Path] = field(default_factory=list)
    promises: list[Path] = field(default_factory=list)
    incidents: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class FleetFolders:
    """All that was found.

    Attributes:
        robots: by name.
        bundles: the folders of bundles.
        unread: what could not be looked into.
    """

    robots: tuple[RobotFolders, ...]
    bundles: tuple[Path, ...]
    unread: tuple[Unread, ...]


def find_robots(sources: Sequence[Path]) -> FleetFolders:
    """Look into the folders of a fleet.

    Args:
        sources: folders, with a folder for each robot; or `ROBOT=PATH`.

    Raises:
        UsageError: a source is no folder, a folder is given two names, or no robot has left a file
            in any of them.
    """
    robots: defaultdict[str, RobotFolders] = defaultdict(lambda: RobotFolders(""))
    bundles: list[Path] = []
    walk = _Walk()
    first: dict[str, Path] = {}
    # A name that is given counts, whatever else its folder lies in.
    for name, top in sorted(map(_named_folder, sources), key=lambda source: not source[0]):
        for robot, folder, folders, files in walk.folders(name, top):
            found = robots[robot]
            found.robot = robot
            logs = [folder / file for file in files if file.endswith(SUFFIX)]
            found.logs += logs
            place = top if name else top / robot
            if logs and first.setdefault(robot, place) != place:
                walk.unread.append(_same_name(robot, first[robot], place))
                first[robot] = place
            found.promises += [folder / file for file in files if file.endswith(PROMISE_SUFFIX)]
            found.incidents += [folder / inner for inner in folders if is_incident(inner)]
            if DESCRIPTION_FILE in files:
                bundles.append(folder)
    with_files = [each for each in robots.values() if each.logs or each.promises or each.incidents]
    if not with_files:
        raise UsageError(
            f"no robot has left a rollout log ('*{SUFFIX}') in {', '.join(map(str, sources))}: "
            "name folders that hold the robots' 'promise_folder', copied or mounted"
        )
    return FleetFolders(
        tuple(sorted(with_files, key=lambda each: each.robot)), tuple(bundles), tuple(walk.unread)
    )


def _named_folder(source: Path) -> tuple[str, Path]:
    """Return the name that a source gives, or an empty one, and its folder."""
    path = located(source)
    name = ""
    if not path.exists() and "=" in str(source):
        name, _, text = str(source).partition("=")
        path = located(Path(text))
        if not name or not text:
            raise UsageError(f"'{source}' names no robot with its folder: write ROBOT=PATH")
    if is_address(path):
        raise UsageError(
            f"'{shown(path)}' is an address, and robots are read from folders of this machine: "
            "copy or mount it here"
        )
    if not path.is_dir():
        what = "is no folder" if path.exists() else "is not there"
        raise UsageError(f"'{path}' {what}: name a folder with the robots' folders, or ROBOT=PATH")
    return name, path


def _same_name(robot: str, one: Path, other: Path) -> Unread:
    """Return that folders of two sources count as one robot."""
    return Unread(
        str(other),
        f"it has the name of '{one}', and both count as one robot: name one of them, ROBOT=PATH, "
        "if it is another",
        robot,
    )


@dataclass(frozen=True)
class _Seen:
    """As what a folder was read."""

    robot: str
    folder: Path
    is_named: bool


class _Walk:
    """The folders of all sources, each once, also where links lead in a circle.

    Attributes:
        unread: what could not be looked into, or is another robot's.
    """

    def __init__(self) -> None:
        self.unread: list[Unread] = []
        self._seen: dict[tuple[int, int], _Seen] = {}

    def folders(self, name: str, top: Path) -> Iterator[tuple[str, Path, list[str], list[str]]]:
        """Yield the robot of each folder of a source, the folder, and its folders and files.

        What is inside of bags is left out.

        Raises:
            UsageError: the source is another robot's by its name.
        """
        # `os.walk` of Python 3.11 calls itself for each level, and a folder may have thousands.
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            parts = folder.relative_to(top).parts
            robot = name or (parts[0] if parts else top.resolve().name or str(top))
            try:
                status = folder.stat()
                now = _Seen(robot, folder, bool(name))
                before = self._seen.setdefault((status.st_dev, status.st_ino), now)
                if before is not now:
                    self._read_before(before, now, is_source=folder == top)
                    continue
                names = sorted(os.listdir(folder))
            except OSError as error:
                place = str(error.filename or folder)
                self.unread.append(Unread(place, error.strerror or str(error)))
                continue
            folders = [inner for inner in names if os.path.isdir(folder / inner)]
            inner = {*folders}
            yield robot, folder, folders, [file for file in names if file not in inner]
            waiting += [
                folder / inner
                for inner in reversed(folders)
                if inner != UNFINISHED and not is_incident(inner)
            ]

    def _read_before(self, before: _Seen, now: _Seen, is_source: bool) -> None:
        """Report that a folder is another robot's, but for links in a circle."""
        if before.robot == now.robot or before.folder in now.folder.parents:
            return
        what = f"the folder of the robot '{before.robot}', '{before.folder}'"
        if now.is_named and is_source:
            raise UsageError(
                f"'{now.robot}={now.folder}' is {what}, and a folder is one robot's: name the "
                "folder of each"
            )
        if not before.is_named:
            self.unread.append(
                Unread(
                    str(now.folder),
                    f"it is {what}, and counts as that alone: replace the link by the robot's own "
                    "folder",
                    now.robot,
                )
            )
