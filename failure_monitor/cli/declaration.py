# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How a command declares its options and arguments: by annotating its parameters.

    def archive(
        sources: Annotated[list[Path], Argument(help="what to read")],
        output: Annotated[Path, Option(help="the file to write")],
        reading: Reading,
    ) -> None: ...

A parameter without a default is required. A dataclass such as `Reading` stands for an option for
each of its fields.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

REQUIRED: Any = inspect.Parameter.empty
"""The default of a parameter that has none."""

TYPE_NAMES: dict[type, str] = {str: "TEXT", int: "INTEGER", float: "FLOAT", Path: "PATH"}
"""What stands for a value in a command's help."""


@dataclass(frozen=True)
class Option:
    """An option.

    Attributes:
        name: as it is typed; empty: `--` and the parameter's name.
        help: one sentence.
        metavar: what stands for its value in the help; empty: its type.
        panel: the heading under which the help lists it; empty: with all others.
        min: the smallest number.
        max: the largest number.
        above: what a number must exceed.
        below: what a number must not reach.
        choices: all values that it takes; empty: any.
        is_optional: whether a text may be empty.
        writes: whether what it names is written, as a file or as a folder, rather than read; as
            either, it is a file if its name ends in .npz.
    """

    name: str = ""
    _: KW_ONLY
    help: str = ""
    metavar: str = ""
    panel: str = ""
    min: float = -math.inf
    max: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    is_optional: bool = True
    writes: Literal["", "file", "folder", "file or folder"] = ""

    @property
    def range(self) -> str:
        """The numbers that it takes; empty if it takes all."""
        low = f"{self.above:g}<" if self.above > -math.inf else ""
        low = f"{self.min:g}<=" if self.min > -math.inf else low
        high = f"<{self.below:g}" if self.below < math.inf else ""
        high = f"<={self.max:g}" if self.max < math.inf else high
        if low and not high:
            bound, sign = low.rstrip("<="), ">=" if low.endswith("=") else ">"
            return f"x{sign}{bound}"
        return f"{low}x{high}" if low or high else ""

    def takes(self, number: float) -> bool:
        """Return whether a number is in the range; NaN and the infinite are in none."""
        return (
            math.isfinite(number)
            and self.min <= number <= self.max
            and self.above < number < self.below
        )


@dataclass(frozen=True)
class Argument:
    """An argument, which is known by its place.

    Attributes:
        help: one sentence.
        metavar: its name in the help; empty: the parameter's.
    """

    _: KW_ONLY
    help: str = ""
    metavar: str = ""


@dataclass(frozen=True)
class Remainder:
    """All that follows, options too, for another program."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a command, as it is declared.

    Attributes:
        name: of the parameter.
        declaration: how it is given.
        type: of one value.
        is_list: whether it takes several values.
        default: without a value; `REQUIRED` if there must be one.
    """

    name: str
    declaration: Option | Argument | Remainder
    type: type
    is_list: bool
    default: Any

    @property
    def label(self) -> str:
        """What users call it: `--output`, or `SOURCES...`."""
        if isinstance(self.declaration, Option):
            return self.declaration.name or f"--{self.name.replace('_', '-')}"
        if isinstance(self.declaration, Argument) and self.declaration.metavar:
            return self.declaration.metavar
        return self.name.upper() + ("..." if self.is_list else "")

    @property
    def metavar(self) -> str:
        """What stands for a value of an option in the help."""
        metavar = self.declaration.metavar if isinstance(self.declaration, Option) else ""
        return metavar or TYPE_NAMES.get(self.type, "TEXT")


def parameters_of(command: Callable[..., None]) -> tuple[Parameter, ...]:
    """Return the parameters of a command, those of its groups last."""
    own, of_groups = [], []
    defaults = inspect.signature(command).parameters
    for name, hint in _hints(command).items():
        if is_dataclass(hint):
            hints = get_type_hints(hint, include_extras=True)
            of_groups += [
                _parameter(field.name, hints[field.name], field.default) for field in fields(hint)
            ]
        else:
            own.append(_parameter(name, hint, defaults[name].default))
    return (*own, *of_groups)


def keyword_arguments(command: Callable[..., None], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a command is called with: the values, those of a group as one object."""
    return {
        name: hint(**{field.name: values[field.name] for field in fields(hint)})
        if isinstance(hint, type) and is_dataclass(hint)
        else values[name]
        for name, hint in _hints(command).items()
    }


def _hints(command: Callable[..., None]) -> dict[str, Any]:
    # Not `get_type_hints`, which changes the hint of what is None by default on Python 3.10.
    parameters = inspect.signature(command, eval_str=True).parameters
    return {name: parameter.annotation for name, parameter in parameters.items()}


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    assert get_origin(hint) is Annotated, f"{name} is not declared"
    inner, declaration = get_args(hint)
    if get_origin(inner) in (Union, types.UnionType):
        (inner,) = (kind for kind in get_args(inner) if kind is not type(None))
    is_list = get_origin(inner) is list
    return Parameter(name, declaration, get_args(inner)[0] if is_list else inner, is_list, default)
