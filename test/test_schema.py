# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Dataclasses are read strictly from YAML and JSON: what does not fit is named by its place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import yaml

from failure_monitor.schema import (
    SchemaError,
    above,
    at_least,
    below,
    like,
    not_empty,
    plain,
    read,
)


class State(Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True)
class Inner:
    name: str
    limit: Annotated[float, above(0)] | None = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    version: Literal[1] = 1
    kind: Literal["a", "b"] = "a"
    state: State = State.GOOD
    count: Annotated[int, at_least(0)] = 0
    share: Annotated[float, above(0), below(1)] = 0.5
    flag: bool = False
    inner: Inner | None = None
    items: Annotated[tuple[Inner, ...], not_empty] = (Inner("x"),)
    pair: tuple[float, float] = (0.0, 1.0)
    numbers: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[Annotated[str, like(r"[a-z]+", "a file")], str] = field(default_factory=dict)
    anything: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.kind == "b" and self.flag:
            raise ValueError("b has no flag")


def test_what_is_written_is_read_again() -> None:
    outer = Outer(
        kind="b",
        state=State.BAD,
        inner=Inner("y", 2.5),
        numbers={"ä": 1e-300},
        files={"abc": "def"},
        anything={"list": [1, "2", None, True]},
    )
    assert read(Outer, json.loads(json.dumps(plain(outer)))) == outer
    assert read(Outer, yaml.safe_load(yaml.safe_dump(plain(outer)))) == outer
    assert list(plain(outer)) == list(Outer.__dataclass_fields__)


def test_numbers_of_numpy_and_of_python_are_written_alike() -> None:
    content = plain({"f": np.float64(0.1), "i": np.int64(3), "t": (np.float32(0.5), True)})
    assert content == {"f": 0.1, "i": 3, "t": [0.5, True]}
    assert {type(value) for value in (content["f"], content["i"])} == {float, int}


def test_json_has_no_number_that_is_not_finite() -> None:
    assert plain((math.nan, math.inf, 1.0)) == [None, None, 1.0]


def test_an_integer_is_a_number_and_becomes_one() -> None:
    share = read(Outer, {"pair": [0, 3]}).pair
    assert share == (0.0, 3.0)
    assert {type(value) for value in share} == {float}


@pytest.mark.parametrize(
    ("content", "where", "reason"),
    [
        ({"cuont": 1}, "cuont", "unknown, expected one of version, kind"),
        ({"items": [{"limit": 1.0}]}, "items.0.name", "it is missing"),
        ({"inner": {"name": "n", "limit": 0}}, "inner.limit", "expected a number above 0, got 0"),
        ({"inner": {"name": "n", "limit": True}}, "inner.limit", "expected a number, got True"),
        ({"inner": ["n"]}, "inner", "expected named values, got ['n']"),
        ({"inner": {1: "n"}}, "inner", "expected names of text, got 1"),
        ({"count": True}, "count", "expected an integer, got True"),
        ({"count": 1.0}, "count", "expected an integer, got 1.0"),
        ({"count": "1"}, "count", "expected an integer, got '1'"),
        ({"count": -1}, "count", "expected a number of at least 0, got -1"),
        ({"count": None}, "count", "expected an integer, got None"),
        ({"share": 1}, "share", "expected a number below 1, got 1.0"),
        ({"share": "a lot"}, "share", "expected a number, got 'a lot'"),
        ({"share": math.nan}, "share", "expected a finite number, got nan"),
        ({"share": 10**400}, "share", "expected a finite number"),
        ({"flag": 1}, "flag", "expected true or false, got 1"),
        ({"flag": True, "kind": "b"}, "", "b has no flag"),
        ({"kind": "c"}, "kind", "expected one of 'a', 'b', got 'c'"),
        ({"kind": ["a"]}, "kind", "expected one of 'a', 'b', got ['a']"),
        ({"version": True}, "version", "expected one of 1, got True"),
        ({"version": 1.0}, "version", "expected one of 1, got 1.0"),
        ({"state": "great"}, "state", "expected one of 'good', 'bad', got 'great'"),
        ({"items": []}, "items", "expected at least one item, got none"),
        ({"items": "x"}, "items", "expected a list, got 'x'"),
        ({"items": {"0": 1}}, "items", "expected a list"),
        ({"pair": [0.0]}, "pair", "expected 2 values, got 1"),
        ({"pair": [0.0, math.inf]}, "pair.1", "expected a finite number, got inf"),
        ({"numbers": {"n": "1"}}, "numbers.n", "expected a number, got '1'"),
        ({"files": {"../secret": "x"}}, "files.../secret", "expected a file, got '../secret'"),
        (["version"], "", "expected named values, got ['version']"),
        (None, "", "expected named values, got None"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(content: Any, where: str, reason: str) -> None:
    with pytest.raises(SchemaError) as caught:
        read(Outer, content)
    assert caught.value.where == where
    assert caught.value.reason.startswith(reason)


def test_a_hostile_value_does_not_fill_the_sentence() -> None:
    bomb: Any = "lol"
    for _ in range(40):
        bomb = [bomb] * 9
    with pytest.raises(SchemaError) as caught:
        read(Outer, {"count": bomb})
    assert len(str(caught.value)) < 500
