# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter files for config/, with every parameter at its default and a comment above it."""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from typing import Any

from failure_monitor.parameters.nodes import Item, NodeParameters, sections
from failure_monitor.parameters.parameter import Settable, Specification

WIDTH = 100
"""Characters of a line."""

WRITTEN = (
    "Written by `make parameters` from failure_monitor/parameters/: change that, not this file."
)

FORMAT = (
    "`/**` stands for the node under any name and in any namespace. A number with a decimal point "
    "must keep it: ROS 2 rejects an integer for a floating-point parameter."
)

WHEN = {
    Settable.AT_START: "only at the start",
    Settable.UNTIL_CONFIGURED: "only while the node is not configured",
    Settable.ANY_TIME: "at any time",
}

_INDENT = "    "
_PLAIN = re.compile(r"[A-Za-z/][\w/.*-]*")
_WORDS_OF_YAML = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def config_file(node: NodeParameters) -> str:
    """Return the text of a node's parameter file."""
    parameters = list(node.defaults())
    usual = _usual(parameters)
    lines = [
        *_comment(f"Parameters of the {node.title.lower()}, at their defaults. {WRITTEN}", ""),
        *_comment(node.introduction, ""),
        *_comment(_when_usual(parameters, usual), ""),
        "#",
        *_comment(FORMAT, ""),
        "/**:",
        "  ros__parameters:",
    ]
    blocks = []
    for section in sections(parameters):
        if section.heading:
            blocks.append(_comment(section.heading, _INDENT))
        blocks += [_parameter(item, usual) for item in section.items]
    return "\n".join([*lines, "\n\n".join("\n".join(block) for block in blocks)]) + "\n"


def yaml_value(value: Any) -> str:
    """Return a default as YAML writes it, on one line."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or value.lower() in _WORDS_OF_YAML):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _usual(parameters: list[Item]) -> Settable:
    return Counter(about.settable for _, about, _ in parameters).most_common(1)[0][0]


def _when_usual(parameters: list[Item], usual: Settable) -> str:
    if len({about.settable for _, about, _ in parameters}) == 1:
        return f"All can be set {WHEN[usual]}."
    return f"Parameters can be set {WHEN[usual]}, unless their comment states otherwise."


def _parameter(item: Item, usual: Settable) -> list[str]:
    name, about, default = item
    when = f"Can be set {WHEN[about.settable]}." if about.settable is not usual else ""
    if any(about.choices.values()):
        comment = [
            *_comment(f"{about.description} One of:", _INDENT),
            *_meanings(about),
            *_comment(when, _INDENT),
        ]
    else:
        kind = "One of" if about.choices else "Range"
        limits = f"{kind}: {about.range}." if about.range else ""
        comment = _comment(" ".join(filter(None, (about.description, limits, when))), _INDENT)
    return [*comment, *_assignment(name, default)]


def _meanings(about: Specification) -> list[str]:
    width = max(map(len, about.choices)) + 2
    return [
        line
        for choice, meaning in about.choices.items()
        for line in textwrap.wrap(
            f"{choice:{width}}{meaning}",
            WIDTH,
            initial_indent=f"{_INDENT}#   ",
            subsequent_indent=f"{_INDENT}#   {'':{width}}",
        )
    ]


def _assignment(name: str, default: Any) -> list[str]:
    line = f"{_INDENT}{name}: {yaml_value(default)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{_INDENT}{name}:", *(f"{_INDENT}  - {yaml_value(value)}" for value in default)]


def _comment(text: str, indent: str) -> list[str]:
    return [
        line
        for paragraph in text.split("\n")
        for line in textwrap.wrap(
            paragraph,
            WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}#   " if paragraph.startswith("- ") else f"{indent}# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
