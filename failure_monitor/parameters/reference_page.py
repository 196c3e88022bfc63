# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The page docs/parameters.md, with a table of the parameters of each node."""

from __future__ import annotations

from failure_monitor.parameters.config_file import yaml_value
from failure_monitor.parameters.nodes import NODES, Item, NodeParameters, sections
from failure_monitor.parameters.parameter import Settable

HEAD = """# Parameters

Every parameter of every node, with its default, its range, and when it can be set.
This page and the parameter files in [config/](../config/) are written by `make parameters` from failure_monitor/parameters/; change that, not this page.

Names of topics without a leading slash are relative to the namespace of the node.
`[""]` stands for an empty list, because an empty list has no type in ROS 2.

- "At the start": the parameter is read-only; a launch file, a parameter file or the command line sets it.
- "While not configured": it can be set until the lifecycle node is configured, and again after it is cleaned up.
- "At any time": it takes effect at once when it is set.

A parameter that a node does not have is never ignored silently.
If it is given with `-p`, or in a file under the node's name, the node ends at its start and names the nearest parameter that exists. The same holds anywhere for a name that begins like one of the node's groups, such as `command.`.
Other unknown names under `/**` only cause a warning, because another node may have them. So does a file that has no key for this node: the key of a node in a namespace is `/namespace/name`, or `/**/name` for any namespace.
A file may have keys of several nodes.
"""  # noqa: E501

WHEN = {
    Settable.AT_START: "at the start",
    Settable.UNTIL_CONFIGURED: "while not configured",
    Settable.ANY_TIME: "at any time",
}

COLUMNS = (
    "| parameter | type | default | range | can be set | description |\n|---|---|---|---|---|---|"
)


def reference_page() -> str:
    """Return the text of the page."""
    return "\n".join([HEAD, *map(_node, NODES)])


def _node(node: NodeParameters) -> str:
    file = f" File: [config/{node.file}](../config/{node.file})." if node.file else ""
    parts = [f"## {node.title}: `{node.executable}`\n\n{node.introduction}{file}\n"]
    for section in sections(node.reference()):
        if section.heading:
            parts.append(
                section.heading.replace("\n- ", "\n\n- ", 1).replace(".\nWhat", ".\n\nWhat")
            )
            parts.append("")
        parts += [COLUMNS, *map(_row, section.items), ""]
    return "\n".join(parts)


def _row(item: Item) -> str:
    name, about, default = item
    has_meanings = any(about.choices.values())
    cells = [
        f"`{name}`",
        about.type,
        f"`{yaml_value(default)}`",
        "" if has_meanings else about.range,
        WHEN[about.settable],
        _escaped(about.text if has_meanings else about.description),
    ]
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    for character in "|<*":
        text = text.replace(character, f"\\{character}")
    return text
