# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses as the schema of YAML and JSON: read strictly, written as plain values.

    @dataclass(frozen=True, kw_only=True)
    class Section:
        name: str
        window: Annotated[int, above(0)] = 1

    read(Section, {"name": "a", "window": 0})    # SchemaError: window: expected a number above 0

Nothing is converted but an integer where a number is expected. Fields may be str, int, float,
bool, Any, literals, enumerations, tuples, mappings, other dataclasses, and each of these or None.
A dataclass checks what concerns several fields in `__post_init__`, by a ValueError.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from numbers import Integral, Real
from reprlib import Repr
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

T = TypeVar("T")

Rule = Callable[[Any], None]
"""What a value must also be, beyond its type: raises a ValueError with what was expected."""

SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 60
SHORT.maxlevel = 2


class SchemaError(ValueError):
    """A value that does not follow its schema.

    Attributes:
        where: the field, such as `scores.1.spread`; empty for the whole.
        reason: what is wrong with it.
    """

    def __init__(self, path: tuple[str, ...], reason: str) -> None:
        self.where, self.reason = ".".join(path), reason
        super().__init__(f"{self.where}: {reason}" if path else reason)


class NewerVersionError(SchemaError):
    """A text of a version that is newer than the newest that can be read."""


def above(limit: float) -> Rule:
    """Return the rule that a number is above a limit."""

    def check(value: float) -> None:
        if not value > limit:
            raise ValueError(f"expected a number above {limit}, got {_short(value)}")

    return check


def at_least(limit: float) -> Rule:
    """Return the rule that a number is no smaller than a limit."""

    def check(value: float) -> None:
        if not value >= limit:
            raise ValueError(f"expected a number of at least {limit}, got {_short(value)}")

    return check


def below(limit: float) -> Rule:
    """Return the rule that a number is below a limit."""

    def check(value: float) -> None:
        if not value < limit:
            raise ValueError(f"expected a number below {limit}, got {_short(value)}")

    return check


def like(pattern: str, what: str) -> Rule:
    """Return the rule that a text is of a pattern.

    Args:
        pattern: the regular expression of the whole text.
        what: what such a text is.
    """

    def check(value: str) -> None:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {what}, got {_short(value)}")

    return check


def not_empty(value: tuple[Any, ...]) -> None:
    """Reject a list without an item."""
    if not value:
        raise ValueError("expected at least one item, got none")


def read(kind: type[T], content: object) -> T:
    """Return a dataclass with the content of a mapping.

    Args:
        kind: the dataclass.
        content: what YAML or JSON held.

    Raises:
        SchemaError: a field is unknown, missing, of another type or not finite, or a rule rejects
            it.
    """
    return _read(kind, content, ())  # type: ignore[no-any-return]


def read_json(kind: type[T], text: bytes, *, newest: int) -> T:
    """Return a dataclass with the content of a JSON text.

    Args:
        kind: the dataclass.
        text: the text; its `version`, where it states one, tells how to read it.
        newest: the newest version that can be read.

    Raises:
        NewerVersionError: the text is of a newer version.
        SchemaError: it is not valid JSON, or does not follow the schema.
    """
    try:
        content = json.loads(text)
        version = content.get("version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > newest:
            raise NewerVersionError((), "it was written by a newer failure_monitor")
        return read(kind, content)
    except SchemaError:
        raise
    except (ValueError, RecursionError):
        raise SchemaError((), "it is not valid JSON") from None


def plain(value: Any) -> Any:
    """Return a value as YAML and JSON hold it: of mappings, lists, texts, numbers and None.

    A number that is not finite becomes None, as JSON has none.
    """
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return [plain(inner) for inner in value]


def _read(kind: Any, content: object, path: tuple[str, ...]) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _ruled(_read(parts[0], content, path), parts[1:], path)
    if origin in (Union, types.UnionType):
        return None if content is None else _read(parts[0], content, path)
    if isinstance(kind, type) and is_dataclass(kind):
        return _read_dataclass(kind, content, path)
    if origin is tuple:
        return _read_tuple(parts, content, path)
    if origin is not None and origin is not Literal and issubclass(origin, Mapping):
        return {
            _read(parts[0], key, (*path, str(key))): _read(parts[1], inner, (*path, str(key)))
            for key, inner in _mapping(content, path).items()
        }
    return content if kind is Any else _read_scalar(kind, content, path)


def _ruled(value: Any, rules: tuple[Rule, ...], path: tuple[str, ...]) -> Any:
    try:
        for rule in rules:
            rule(value)
    except ValueError as error:
        raise SchemaError(path, str(error)) from None
    return value


def _read_dataclass(kind: Any, content: object, path: tuple[str, ...]) -> Any:
    given, hints = _mapping(content, path), _hints(kind)
    values = {}
    for field in fields(kind):
        if field.name in given:
            values[field.name] = _read(hints[field.name], given[field.name], (*path, field.name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise SchemaError((*path, field.name), "it is missing")
    for name in given:
        if name not in hints:
            raise SchemaError((*path, name), f"unknown, expected one of {', '.join(hints)}")
    try:
        return kind(**values)
    except ValueError as error:
        raise SchemaError(path, str(error)) from None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _mapping(content: object, path: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise SchemaError(path, f"expected named values, got {_short(content)}")
    for key in content:
        if not isinstance(key, str):
            raise SchemaError(path, f"expected names of text, got {_short(key)}")
    return content


def _read_tuple(parts: tuple[Any, ...], content: object, path: tuple[str, ...]) -> Any:
    if not isinstance(content, list | tuple):
        raise SchemaError(path, f"expected a list, got {_short(content)}")
    kinds = [parts[0]] * len(content) if parts[-1] is Ellipsis else [*parts]
    if len(kinds) != len(content):
        raise SchemaError(path, f"expected {len(kinds)} values, got {len(content)}")
    pairs = zip(kinds, content, strict=True)
    return tuple(_read(kind, inner, (*path, str(at))) for at, (kind, inner) in enumerate(pairs))


def _read_scalar(kind: Any, content: object, path: tuple[str, ...]) -> Any:
    if get_origin(kind) is Literal or issubclass(kind, Enum):
        known = {getattr(choice, "value", choice): choice for choice in _choices(kind)}
        for word, choice in known.items():
            if type(word) is type(content) and word == content:
                return choice
        listed = ", ".join(map(repr, known))
        raise SchemaError(path, f"expected one of {listed}, got {_short(content)}")
    if kind is float and isinstance(content, int | float) and not isinstance(content, bool):
        return _finite(content, path)
    if not isinstance(content, kind) or (kind is int and isinstance(content, bool)):
        what = {str: "a text", int: "an integer", float: "a number", bool: "true or false"}[kind]
        raise SchemaError(path, f"expected {what}, got {_short(content)}")
    return content


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) or tuple(kind)


def _finite(content: float, path: tuple[str, ...]) -> float:
    try:
        value = float(content)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise SchemaError(path, f"expected a finite number, got {_short(content)}")
    return value


def _short(value: object) -> str:
    return SHORT.repr(value)
