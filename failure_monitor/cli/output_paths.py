# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a command is to write is looked at before it begins to work."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from failure_monitor.atomic_file import (
    UnwritableError,
    reject_unwritable_file,
    reject_unwritable_folder,
)
from failure_monitor.cli.declaration import Option, Parameter, parameters_of
from failure_monitor.errors import UsageError
from failure_monitor.sources.addresses import (
    exists,
    is_address,
    is_file,
    located,
    matching,
    outlasts_process,
    shown,
)

EITHER = "file or folder"
"""What an option writes that may also be an address."""


def check_outputs(command: Callable[..., None], values: Mapping[str, Any]) -> None:
    """Reject what a command cannot write, and what it would write over what it reads.

    Args:
        command: the function of the command.
        values: the values of its options and arguments, by the names of its parameters.

    Raises:
        UsageError: names the option.
        FailureMonitorError: a store at an address gives no answer.
    """
    parameters = parameters_of(command)
    written = [each for each in parameters if _writes(each) and values[each.name] is not None]
    read = [
        (parameter, located(path))
        for parameter in parameters
        if not _writes(parameter)
        for path in _paths(values[parameter.name])
    ]
    taken = {os.path.realpath(path): parameter.label for parameter, path in read}
    for parameter in written:
        path: Path = values[parameter.name]
        if _writes(parameter) == EITHER:
            path = located(path)
        other = taken.get(os.path.realpath(path))
        # Two results may go to one device.
        if other is not None and not _is_stream(path):
            raise UsageError(
                f"{parameter.label} {path} is what {other} names, too: name another place"
            )
        taken[os.path.realpath(path)] = parameter.label
        for reader, place in read:
            _reject_inside(path, parameter, place, reader)
        if is_address(path):
            if _writes(parameter) != EITHER:
                raise UsageError(
                    f"{parameter.label} {shown(path)} is an address: name a place on this machine"
                )
            if not outlasts_process(path):
                raise UsageError(
                    f"{parameter.label} {shown(path)} ends with this process, and all that is "
                    "written there: name a path, or the address of a store"
                )
            continue  # only writing it tells
        _reject_replacing_rollouts(path, parameter)
        try:
            if _is_folder(parameter, path):
                reject_unwritable_folder(path)
            else:
                reject_unwritable_file(path)
        except UnwritableError as error:
            raise UsageError(f"{parameter.label}: {error}") from None


def _reject_inside(path: Path, writer: Parameter, read: Path, reader: Parameter) -> None:
    """Reject an output that is one of the sources in a folder that is read, or a part of one."""
    # Patterns are looked up only where one of what matches may hold the output.
    fixed = [*takewhile(lambda part: not glob.has_magic(part), read.parts)]
    if _inner(path, Path(*fixed)) is None:
        return
    for place in [read] if len(fixed) == len(read.parts) or exists(read) else matching(read):
        inner = _inner(path, place)
        if inner is not None and (held := _holder(place, inner, reader)) is not None:
            how = "over" if held == place / inner else "into"
            raise UsageError(
                f"{writer.label} {shown(path)} would be written {how} {shown(held)}, which "
                f"{reader.label} names: name another place"
            )


def _inner(path: Path, folder: Path) -> Path | None:
    """Return a path in a folder as it is seen from there, without links; None if it is outside."""
    if is_address(path) != is_address(folder):
        return None
    if not is_address(path):
        path, folder = (Path(os.path.realpath(each)) for each in (path, folder))
    return path.relative_to(folder) if path.is_relative_to(folder) else None


def _holder(top: Path, inner: Path, reader: Parameter) -> Path | None:
    """Return what a path in a folder that is read belongs to: a source, a bundle; None if none."""
    if is_address(top):
        return top / inner if is_file(top / inner) else None
    if isinstance(reader.declaration, Option) and not reader.is_list:
        return top  # it names one thing, such as a policy, and no folder of several
    # Only where an output lies in a folder that is read: this loads the readers.
    from failure_monitor.bundle.folder import DESCRIPTION_FILE
    from failure_monitor.promise.state_file import PROMISE_SUFFIX
    from failure_monitor.rollout_log.log_file import SUFFIX as LOG_SUFFIX
    from failure_monitor.sources.found_sources import kind_of

    places = [top.joinpath(*inner.parts[:depth]) for depth in range(len(inner.parts) + 1)]
    return next(
        (
            place
            for place in places
            # In a folder of rollouts a bundle is no source, and may be calibrated again.
            if (place != top / inner and (place / DESCRIPTION_FILE).is_file())
            or place.name.endswith((LOG_SUFFIX, PROMISE_SUFFIX))
            or (place.exists() and kind_of(place) is not None)
        ),
        None,
    )


def _reject_replacing_rollouts(path: Path, writer: Parameter) -> None:
    """Reject a file that holds rollouts, or is of a source or a bundle, whatever else is read."""
    if not path.is_file():
        return
    # Only where a file is replaced: this loads the readers.
    from failure_monitor.bundle.folder import DESCRIPTION_FILE
    from failure_monitor.sources.archive import Archive
    from failure_monitor.sources.found_sources import kind_of

    file = Path(os.path.realpath(path))
    # An archive is written again; a store and a dataset have files in folders of their own.
    kind = kind_of(file)
    if kind is not None and not (_writes(writer) == EITHER and isinstance(kind, Archive)):
        raise UsageError(f"{writer.label} {path} is there and holds rollouts: name another place")
    for folder in file.parents[:2]:
        if (folder / DESCRIPTION_FILE).is_file() or kind_of(folder) is not None:
            raise UsageError(
                f"{writer.label} {path} is there and a file of {folder}: name another place"
            )


def _is_stream(path: Path) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _is_folder(parameter: Parameter, path: Path) -> bool:
    kind = _writes(parameter)
    return kind == "folder" or (kind == EITHER and path.suffix != ".npz")


def _writes(parameter: Parameter) -> str:
    declaration = parameter.declaration
    return declaration.writes if isinstance(declaration, Option) else ""


def _paths(value: Any) -> Iterator[Path]:
    for path in value if isinstance(value, list) else [value]:
        if isinstance(path, Path):
            # A source may be named with its robot, ROBOT=PATH.
            robot, _, folder = str(path).partition("=")
            yield Path(folder) if robot and folder and not path.exists() else path
