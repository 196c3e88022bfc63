# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Finds sources of rollouts: at paths and addresses, in folders there, and by patterns."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

from failure_monitor.executors.present_work import on_worker
from failure_monitor.sources.addresses import (
    exists,
    file_sizes,
    is_address,
    is_file,
    located,
    matching,
    outline,
    shown,
)
from failure_monitor.sources.archive import Archive
from failure_monitor.sources.bag_files import reject_link_out
from failure_monitor.sources.copied_source import CopiedSource
from failure_monitor.sources.fiper import FiperFolder
from failure_monitor.sources.lerobot_dataset import LeRobotDataset
from failure_monitor.sources.reading import Found
from failure_monitor.sources.rollout_store import RolloutStore
from failure_monitor.sources.rosbag import BagFile, BagFolder
from failure_monitor.sources.source import (
    SourceError,
    SourceKind,
)

SOURCE_KINDS: Mapping[str, SourceKind] = {
    "rosbag2 folder": BagFolder(),
    ".mcap, .db3 or ROS 1 .bag file": BagFile(),
    "store of rollouts": RolloutStore(),
    "rollout archive (.npz)": Archive(),
    "FIPER rollout folder": FiperFolder(),
    "LeRobotDataset": LeRobotDataset(),
}


def find_sources(paths: Sequence[Path]) -> list[Found]:
    """Return the sources at some paths, in folders there, and those that match a pattern.

    Raises:
        SourceError: There is none, it is of no known kind, or it is a link out of its folder.
    """
    return [
        found
        for path in paths
        for named in _matching(located(Path(path)))
        for found in (_found_at_address(named) if is_address(named) else _found_at(named))
    ]


def _matching(path: Path) -> list[Path]:
    if not glob.has_magic(str(path)) or exists(path):
        return [path]
    found = matching(path)
    # A pattern such as `day*/*` also matches notes and configuration files.
    known = [path for path in found if is_address(path) or path.is_dir() or kind_of(path)]
    if not known:
        raise SourceError(f"no source matches the pattern {shown(path)}: name {known_kinds()}")
    return known


def _found_at(path: Path) -> list[Found]:
    if not path.exists():
        raise SourceError(f"{path} does not exist{on_worker()}: name {known_kinds()}")
    try:
        sources = _sources_at(path)
    except PermissionError as error:
        raise SourceError(
            f"{error.filename} cannot be read: {error.strerror}: let this user read it"
        ) from None
    if not sources:
        if path.is_dir() and all(child.name.startswith(".") for child in path.iterdir()):
            raise SourceError(
                f"{path} holds no files: record rollouts into it; a bag appears there when its "
                "rollout ends"
            )
        raise SourceError(f"{path} is no known source of rollouts: name {known_kinds()}")
    for source, _ in sources:
        if source != path:
            reject_link_out(source, path)
    return [found for source, kind in sources for found in _found(source, kind)]


def _found(source: Path, kind: SourceKind) -> list[Found]:
    if isinstance(kind, RolloutStore):
        return kind.found(source)
    return [Found(source, kind, sum(file_sizes(source).values()))]


def _found_at_address(path: Path) -> list[Found]:
    """Return the sources at an address, told apart by the names of their files."""
    if not exists(path):
        raise SourceError(
            f"{shown(path)} does not exist{on_worker()}: check the bucket and the name, upper and "
            f"lower case too, of {known_kinds()}"
        )
    store = RolloutStore()
    if store.recognises(path):
        return store.found(path)
    with outline(path) as (folder, sizes):
        if not is_file(path):
            sources = [(path / at.relative_to(folder), kind) for at, kind in _sources_at(folder)]
        elif (kind := kind_of(folder)) is not None:
            sources = [(path, kind)]
        else:
            sources = []
    if not sources:
        raise SourceError(f"{shown(path)} is no known source of rollouts: name {known_kinds()}")
    found = []
    for source, kind in sources:
        if isinstance(kind, RolloutStore):
            found += kind.found(source)
            continue
        size = sum(size for file, size in sizes.items() if file.is_relative_to(source))
        is_read_there = isinstance(kind, Archive)
        found.append(Found(source, kind if is_read_there else CopiedSource(kind), size))
    return found


def _sources_at(path: Path) -> list[tuple[Path, SourceKind]]:
    """Return the source at a path, or those in a folder there."""
    if (kind := kind_of(path)) is not None:
        return [(path, kind)]
    inner = sorted(path.iterdir()) if path.is_dir() else []
    return [(child, kind) for child in inner if (kind := kind_of(child)) is not None]


def kind_of(path: Path) -> SourceKind | None:
    """Return the kind of the source at a path of this machine; None if there is none."""
    return next((kind for kind in SOURCE_KINDS.values() if kind.recognises(path)), None)


def known_kinds() -> str:
    """Return what a source can be, for messages."""
    return f"a {', a '.join(SOURCE_KINDS)}, or a folder of these"
