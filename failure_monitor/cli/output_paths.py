# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a command is to write is looked at before it begins to work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from failure_monitor.atomic_file import (
    UnwritableError,
    reject_unwritable_file,
    reject_unwritable_folder,
)
from failure_monitor.cli.declaration import Option, Parameter, parameters_of
from failure_monitor.errors import UsageError
from failure_monitor.sources.addresses import is_address, located, shown

EITHER = "file or folder"
"""What an option writes that may also be an address."""


def check_outputs(command: Callable[..., None], values: Mapping[str, Any]) -> None:
    """Reject what a command cannot write, and what it would write over what it reads.

    Args:
        command: the function of the command.
        values: the values of its options and arguments, by the names of its parameters.

    Raises:
        UsageError: names the option.
    """
    parameters = parameters_of(command)
    written = [each for each in parameters if _writes(each) and values[each.name] is not None]
    taken = {
        os.path.realpath(path): parameter.label
        for parameter in parameters
        if not _writes(parameter)
        for path in _paths(values[parameter.name])
    }
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
        if is_address(path):
            if _writes(parameter) != EITHER:
                raise UsageError(
                    f"{parameter.label} {shown(path)} is an address: name a place on this machine"
                )
            continue  # only writing it tells
        try:
            if _is_folder(parameter, path):
                reject_unwritable_folder(path)
            else:
                reject_unwritable_file(path)
        except UnwritableError as error:
            raise UsageError(f"{parameter.label}: {error}") from None


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
            yield path
