# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of nodes as fields of frozen dataclasses.

A field of such a dataclass is one of four things:

parameter(...)   a parameter of this name
group(...)       another such dataclass, the names of whose parameters begin with a prefix
repeated(...)    one of another such dataclass for every name that a parameter lists
without these    in a repeated group, its own name

Nodes declare their parameters from these dataclasses (failure_monitor/ros/common/parameters.py);
config/*.yaml and docs/parameters.md are written from them (`make parameters`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, TypeVar

from failure_monitor.errors import UsageError

P = TypeVar("P")

NO_NAMES = ("",)
"""An empty list of names: an empty list has no type in ROS 2."""

UNLIMITED = 1e9
"""Upper bound that stands for none in texts."""


class Settable(Enum):
    """When a parameter may be set."""

    AT_START = "at the start"
    """Only by a launch file, a parameter file or the command line: it is read-only."""
    UNTIL_CONFIGURED = "while the node is not configured"
    """Until the lifecycle node is configured, and again after it is cleaned up."""
    ANY_TIME = "at any time"
    """While the node runs, too: it takes effect at once."""


@dataclass(frozen=True)
class Specification:
    """What is known of one parameter.

    Attributes:
        default: its value where none is given; fixes its type, too.
        description: whole sentences, with units; for `ros2 param describe`, files and pages.
        bounds: the smallest and the largest value.
        choices: the possible values and what each means; the meanings may be empty.
        settable: when it may be set.
        is_topic: whether it is the name of a topic, or a list of them.
        is_optional: whether a topic, or a list of names, may be empty.
        heading: paragraph about this parameter and those after it, for files and pages.
    """

    default: Any
    description: str
    bounds: tuple[float, float] | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    settable: Settable = Settable.AT_START
    is_topic: bool = False
    is_optional: bool = False
    heading: str = ""

    @property
    def range(self) -> str:
        """The possible values as text; empty where the type alone limits them."""
        if self.choices:
            return ", ".join(self.choices)
        if self.bounds is None:
            return ""
        low, high = self.bounds
        text = f"{low:g} or more" if high >= UNLIMITED else f"{low:g} to {high:g}"
        return text.replace("e-0", "e-")

    @property
    def text(self) -> str:
        """The description, followed by the choices and their meanings."""
        if not self.choices:
            return self.description
        meanings = [f"{one} ({what})" if what else one for one, what in self.choices.items()]
        return f"{self.description} One of: {', '.join(meanings)}."

    @property
    def type(self) -> str:
        """The type as text."""
        if isinstance(self.default, tuple):
            return f"list of {_TYPES[type(self.default[0])]}s"
        return _TYPES[type(self.default)]


_TYPES = {bool: "boolean", int: "integer", float: "float", str: "string"}


@dataclass(frozen=True)
class Group:
    """Parameters whose names begin with a prefix."""

    kind: type
    prefix: str


@dataclass(frozen=True)
class Repeated:
    """Parameters that exist once for every name that the parameter `names` lists."""

    kind: type
    names: str
    prefix: str


_ABOUT = "failure_monitor"
"""Key of the fields' metadata."""


def parameter(
    default: Any,
    description: str,
    *,
    bounds: tuple[float, float] | None = None,
    choices: Mapping[str, str] | Sequence[str] = (),
    settable: Settable = Settable.AT_START,
    is_topic: bool = False,
    is_optional: bool = False,
    heading: str = "",
) -> Any:
    """Make a field that is a parameter; see `Specification` for the arguments.

    In a repeated group, `{name}` in a default stands for the name of the group.
    """
    meanings = choices if isinstance(choices, Mapping) else dict.fromkeys(choices, "")
    specification = Specification(
        default, description, bounds, meanings, settable, is_topic, is_optional, heading
    )
    return field(default=default, metadata={_ABOUT: specification})


def group(kind: type, prefix: str) -> Any:
    """Make a field that holds the parameters of another dataclass, named with a prefix."""
    return field(default_factory=kind, metadata={_ABOUT: Group(kind, prefix)})


def repeated(kind: type, *, names: str, prefix: str = "") -> Any:
    """Make a field that holds a tuple of one dataclass for every name in the parameter `names`.

    The parameters of each are named with the prefix, the name and a dot.
    """
    return field(default=(), metadata={_ABOUT: Repeated(kind, names, prefix)})


def build(
    kind: type[P],
    value: Callable[[str, Specification], Any],
    *,
    prefix: str = "",
    name: str = "",
) -> P:
    """Make a dataclass of parameters.

    Args:
        kind: the dataclass.
        value: returns the value of a parameter, by its full name.
        prefix: what the full names begin with.
        name: name of the group, for a repeated one.

    Raises:
        UsageError: the names of repeated groups are empty or not distinct.
    """
    values: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        about = one.metadata.get(_ABOUT)
        if isinstance(about, Specification):
            values[one.name] = value(f"{prefix}{one.name}", _in_group(about, name))
        elif isinstance(about, Group):
            values[one.name] = build(about.kind, value, prefix=f"{prefix}{about.prefix}")
        elif isinstance(about, Repeated):
            names = values[about.names]
            check_names(f"{prefix}{about.names}", names, is_optional=_optional(kind, about.names))
            values[one.name] = tuple(
                build(about.kind, value, prefix=f"{prefix}{about.prefix}{each}.", name=each)
                for each in names
                if each
            )
        else:
            values[one.name] = name
    return kind(**values)


def items(
    parameters: Any, *, prefix: str = "", name: str = ""
) -> Iterator[tuple[str, Specification, Any]]:
    """Yield every parameter of a dataclass: its full name, its specification and its value."""
    for one in fields(parameters):
        about, value = one.metadata.get(_ABOUT), getattr(parameters, one.name)
        if isinstance(about, Specification):
            yield f"{prefix}{one.name}", _in_group(about, name), value
        elif isinstance(about, Group):
            yield from items(value, prefix=f"{prefix}{about.prefix}")
        elif isinstance(about, Repeated):
            for each in value:
                yield from items(
                    each, prefix=f"{prefix}{about.prefix}{each.name}.", name=each.name
                )


def without_effect(parameters: Any, idle: Mapping[str, str], *, prefix: str = "") -> list[str]:
    """Return which parameters have another value than their default, and no effect, and why.

    Args:
        parameters: a dataclass.
        idle: why a parameter has no effect, by its name in the dataclass; others have one.
        prefix: what the full names begin with.
    """
    return [
        f"the parameter '{prefix}{name}' has no effect: {idle[name]}"
        for name, about, value in items(parameters)
        if name in idle and value != about.default
    ]


def documented(
    kind: type, *, prefix: str = "", name: str = ""
) -> Iterator[tuple[str, Specification]]:
    """Yield every parameter of a dataclass for a page, with <name> for repeated groups."""
    for one in fields(kind):
        about = one.metadata.get(_ABOUT)
        if isinstance(about, Specification):
            yield f"{prefix}{one.name}", _in_group(about, name)
        elif isinstance(about, Group):
            yield from documented(about.kind, prefix=f"{prefix}{about.prefix}")
        elif isinstance(about, Repeated):
            yield from documented(
                about.kind, prefix=f"{prefix}{about.prefix}<name>.", name="<name>"
            )


def names_of(kind: type) -> tuple[str, ...]:
    """Return the names of the parameters of a dataclass, without groups."""
    return tuple(
        one.name for one in fields(kind) if isinstance(one.metadata.get(_ABOUT), Specification)
    )


def specification(kind: type, name: str) -> Specification:
    """Return what is known of the parameter that a field of a dataclass is."""
    about = next(one.metadata.get(_ABOUT) for one in fields(kind) if one.name == name)
    assert isinstance(about, Specification)
    return about


def settable_at_any_time(kind: type) -> tuple[str, ...]:
    """Return the names of the parameters of a dataclass that may be set while the node runs."""
    return tuple(
        one.name
        for one in fields(kind)
        if isinstance(about := one.metadata.get(_ABOUT), Specification)
        and about.settable is Settable.ANY_TIME
    )


def check(parameters: Any, *, prefix: str = "") -> None:
    """Reject values that do not make sense, alone or together.

    First by the method `check` of the dataclass, if it has one, and of those in it; then by
    choices and by the bounds of integers. Bounds of floats hold when they are set.

    Raises:
        UsageError: names the parameter.
    """
    _check_together(parameters)
    for name, about, value in items(parameters, prefix=prefix):
        if about.choices:
            check_choice(name, value, about.choices)
        if about.bounds is not None and isinstance(value, int):
            low, high = about.bounds
            if not low <= value <= high:
                raise UsageError(f"the parameter '{name}' is {value}: choose {about.range}")


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Reject a value that is not one of the choices.

    Raises:
        UsageError: names the parameter and the choices.
    """
    if value not in choices:
        raise UsageError(f"the parameter '{name}' is '{value}', not one of {', '.join(choices)}")


def check_names(parameter: str, names: Sequence[str], *, is_optional: bool = False) -> None:
    """Reject a list with an empty name or a name that stands in it twice.

    Raises:
        UsageError: names the parameter.
    """
    if is_optional and tuple(names) == NO_NAMES:
        return
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not names or "" in names or twice:
        raise UsageError(
            f"the parameter '{parameter}' is {list(names)}; it must be a list of at least one "
            "name, none of them empty, and none twice"
        )


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that are not empty."""
    return tuple(name for name in names if name)


def _check_together(parameters: Any) -> None:
    for one in fields(parameters):
        about, value = one.metadata.get(_ABOUT), getattr(parameters, one.name)
        if isinstance(about, Group):
            _check_together(value)
        elif isinstance(about, Repeated):
            for each in value:
                _check_together(each)
    own = getattr(parameters, "check", None)
    if own is not None:
        own()


def _in_group(about: Specification, name: str) -> Specification:
    if not isinstance(about.default, str) or "{name}" not in about.default:
        return about
    return replace(about, default=about.default.replace("{name}", name))


def _optional(kind: type, name: str) -> bool:
    return specification(kind, name).is_optional
