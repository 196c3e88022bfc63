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

from failure_monitor.bundle.bundle import DESCRIPTION_FILE
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


def find_robots(sources: Sequence[str]) -> FleetFolders:
    """Look into the folders of a fleet.

    Args:
        sources: folders, with a folder for each robot; or `ROBOT=PATH`.

    Raises:
        UsageError: a source is no folder, or no robot has left a file in any of them.
    """
    robots: defaultdict[str, RobotFolders] = defaultdict(lambda: RobotFolders(""))
    bundles: list[Path] = []
    unread: list[Unread] = []
    seen: set[tuple[int, int]] = set()
    first: dict[str, Path] = {}
    for source in sources:
        name, top = _named_folder(source)
        for folder, folders, files in _walk(top, seen, unread):
            parts = folder.relative_to(top).parts
            robot = name or (parts[0] if parts else top.resolve().name or str(top))
            found = robots[robot]
            found.robot = robot
            logs = [folder / file for file in files if file.endswith(SUFFIX)]
            found.logs += logs
            if logs and not name and first.setdefault(robot, top) != top:
                unread += _same_name(robot, first[robot], top)
                first[robot] = top
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
        tuple(sorted(with_files, key=lambda each: each.robot)), tuple(bundles), tuple(unread)
    )


def _named_folder(source: str) -> tuple[str, Path]:
    """Return the name that a source gives, or an empty one, and its folder."""
    path = located(Path(source))
    name = ""
    if not path.exists() and "=" in source:
        name, _, text = source.partition("=")
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


def _same_name(robot: str, one: Path, other: Path) -> list[Unread]:
    """Return that folders below two sources count as one robot."""
    return [
        Unread(
            str(other / robot),
            f"it has the name of '{one / robot}', and both count as one robot: name one of them, "
            "ROBOT=PATH, if it is another",
            robot,
        )
    ]


def _walk(
    top: Path, seen: set[tuple[int, int]], unread: list[Unread]
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield every folder once, also where links lead in a circle; those of bags are left out."""
    # `os.walk` of Python 3.11 calls itself for each level, and a folder may have thousands.
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue
            seen.add(identity)
            names = sorted(os.listdir(folder))
        except OSError as error:
            unread.append(Unread(str(error.filename or folder), error.strerror or str(error)))
            continue
        folders = [name for name in names if os.path.isdir(folder / name)]
        inner = {*folders}
        yield folder, folders, [name for name in names if name not in inner]
        waiting += [
            folder / name
            for name in reversed(folders)
            if name != UNFINISHED and not is_incident(name)
        ]
