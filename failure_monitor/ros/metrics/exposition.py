# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Prometheus's text format, version 0.0.4."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from failure_monitor.printable_text import printable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MAX_LABEL = 200
"""Letters of a label's value."""


@dataclass(frozen=True)
class Family:
    """A metric: its samples differ in their labels.

    Attributes:
        name: its full name.
        kind: what its numbers do.
        help: what they are, in a sentence.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str


@dataclass(frozen=True)
class Sample:
    """One number.

    Attributes:
        name: of its family.
        labels: values by name.
        value: the number.
    """

    name: str
    labels: Mapping[str, str]
    value: float


def exposition(families: Sequence[Family], samples: Iterable[Sample]) -> str:
    """Return samples as text, family by family; a family without a sample is left out."""
    of_family: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        of_family[sample.name].append(sample)
    lines = []
    for family in families:
        if family.name in of_family:
            lines.append(f"# HELP {family.name} {_escaped(family.help)}")
            lines.append(f"# TYPE {family.name} {family.kind}")
            lines += map(_line, of_family[family.name])
    return "".join(f"{line}\n" for line in lines)


def _line(sample: Sample) -> str:
    labels = ",".join(
        f'{name}="{_escaped(printable(value, MAX_LABEL), quotes=True)}"'
        for name, value in sample.labels.items()
    )
    return f"{sample.name}{{{labels}}} {_number(sample.value)}"


def _escaped(text: str, *, quotes: bool = False) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return escaped.replace('"', r"\"") if quotes else escaped


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
