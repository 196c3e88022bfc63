# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A strict reader of Prometheus's text format 0.0.4, as its documentation describes it."""

from __future__ import annotations

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
LINE = re.compile(rf"({NAME})(?:\{{((?:{LABEL})(?:,{LABEL})*)\}})? (\S+)")
NUMBER = re.compile(r"[+-]Inf|NaN|-?\d+(\.\d+)?(e[+-]\d+)?")
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Series = tuple[str, frozenset[tuple[str, str]]]


def read_metrics(text: str) -> dict[Series, float]:
    """Return the number of every series, by its name and labels.

    Raises:
        AssertionError: a line does not follow the format, or a family is torn apart.
    """
    assert text.endswith("\n")
    found: dict[Series, float] = {}
    families: dict[str, str] = {}
    family = helped = ""
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            _, _, helped, words = line.split(" ", 3)
            assert words
            continue
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family == helped, line
            assert family not in families, f"{family} is there twice"
            assert kind in ("counter", "gauge"), line
            assert (kind == "counter") == family.endswith("_total"), line
            families[family] = kind
            continue
        match = LINE.fullmatch(line)
        assert match, line
        assert match[1] == family, f"{line} does not stand with its family"
        assert NUMBER.fullmatch(match[match.lastindex or 0]), line
        labels = [
            (name, re.sub(r"\\.", lambda escape: ESCAPES[escape[0]], value))
            for name, value in re.findall(LABEL, match[2] or "")
        ]
        assert len(dict(labels)) == len(labels), line
        series = (family, frozenset(labels))
        assert series not in found, f"{line} is there twice"
        found[series] = float(match[match.lastindex or 0])
    return found


def value(metrics: dict[Series, float], name: str, **labels: str) -> float | None:
    """Return the number of the only series with a name, and at least these labels."""
    matching = [
        number
        for (family, own), number in metrics.items()
        if family == name and {*labels.items()} <= own
    ]
    assert len(matching) < 2, f"{name} {labels} is no single series"
    return matching[0] if matching else None
