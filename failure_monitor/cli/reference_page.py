# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The page docs/command_line.md, with every command, option and argument as they are declared.

    python -m failure_monitor.cli.reference_page

or `make reference` writes it. No command needs this.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from failure_monitor.cli import COMMANDS
from failure_monitor.cli.declaration import (
    REQUIRED,
    Argument,
    Option,
    Parameter,
    Remainder,
    parameters_of,
)

PAGE = Path(__file__).parents[2] / "docs" / "command_line.md"

HEAD = """# The command line

Every command with its arguments and options.
This page is written by `make reference` from the declarations in failure_monitor/cli/; change these, not this page.

`failure-monitor COMMAND` and `ros2 failure_monitor COMMAND` are the same.
`--help` after a command prints what stands here, `failure-monitor --version` the version.
Results go to standard output, progress and complaints to standard error.

| exit code | meaning |
|---|---|
| 0 | it did what it was asked to |
| 1 | it cannot: one sentence says what is wrong, where, and what to do; or `check` found something wrong |
| 2 | it was asked for what is not possible, such as an option that does not exist |
| 130 | it was interrupted; nothing was written, but for what `archive` says is in a store |

What several commands share, such as how bags are read, stands once, [below](#options-that-commands-share).
"""  # noqa: E501

COLUMNS = "| | value | default | meaning |\n|---|---|---|---|"


def reference_page() -> str:
    """Return the text of the page."""
    shared = _shared_panels()
    parts = [HEAD, *(_command(command, shared) for command in COMMANDS)]
    parts.append("## Options that commands share\n")
    parts += [f"### {panel}\n\n{_table(own)}\n" for panel, own in shared.items()]
    return "\n".join(parts)


def _panels(command: Callable[..., None]) -> dict[str, tuple[Parameter, ...]]:
    """Return the parameters of a command by the heading under which its help lists them."""
    panels: dict[str, tuple[Parameter, ...]] = {}
    for parameter in parameters_of(command):
        declaration = parameter.declaration
        panel = declaration.panel if isinstance(declaration, Option) else ""
        panels[panel] = (*panels.get(panel, ()), parameter)
    return panels


def _shared_panels() -> dict[str, tuple[Parameter, ...]]:
    """Return what all of the several commands with a panel have in it."""
    found: dict[str, list[tuple[Parameter, ...]]] = {}
    for command in COMMANDS:
        for panel, parameters in _panels(command).items():
            found.setdefault(panel, []).append(parameters)
    return {
        panel: tuple(parameter for parameter in first if all(parameter in each for each in others))
        for panel, (first, *others) in found.items()
        if panel and others
    }


def _command(command: Callable[..., None], shared: Mapping[str, tuple[Parameter, ...]]) -> str:
    name = command.__name__.replace("_", "-")
    panels = _panels(command)
    parameters = [parameter for own in panels.values() for parameter in own]
    if any(isinstance(parameter.declaration, Remainder) for parameter in parameters):
        usage = f"failure-monitor {name} ..."
    else:
        arguments = [p.label for p in parameters if isinstance(p.declaration, Argument)]
        usage = " ".join([f"failure-monitor {name} [OPTIONS]", *arguments])
    lines = [f"## {name}\n", f"```\n{usage}\n```\n", f"{inspect.getdoc(command)}\n"]
    for panel, own in panels.items():
        elsewhere = shared.get(panel, ())
        listed = [p for p in own if not isinstance(p.declaration, Remainder)]
        listed = [p for p in listed if p not in elsewhere]
        if listed:
            lines += [f"*{panel}*\n"] if panel else []
            lines.append(f"{_table(listed)}\n")
    common = [panel for panel in panels if panel in shared]
    if common:
        links = ", ".join(f"[{panel}](#{panel.lower().replace(' ', '-')})" for panel in common)
        lines.append(f"It also takes the options of {links}.\n")
    return "\n".join(lines)


def _table(parameters: Iterable[Parameter]) -> str:
    return "\n".join([COLUMNS, *map(_row, parameters)])


def _row(parameter: Parameter) -> str:
    declaration = parameter.declaration
    assert isinstance(declaration, (Option, Argument))
    label, value, help_text = _escaped(parameter.label), "", declaration.help
    if isinstance(declaration, Option):
        if parameter.type is bool:
            label = f"{label}`, `--no-{label.removeprefix('--')}"
        else:
            value = _value(parameter, declaration)
    cells = (f"`{label}`", value, _default(parameter), _escaped(help_text))
    return f"| {' | '.join(cells)} |"


def _value(parameter: Parameter, declaration: Option) -> str:
    if declaration.choices:
        return ", ".join(f"`{choice}`" for choice in declaration.choices if choice)
    about = f" {declaration.range}" if declaration.range else ""
    return _escaped(f"{parameter.metavar}{about}")


def _default(parameter: Parameter) -> str:
    if parameter.default is REQUIRED:
        return "required"
    if parameter.default is None or parameter.default is False or parameter.default == "":
        return ""
    return "on" if parameter.default is True else f"`{parameter.default}`"


def _escaped(text: str) -> str:
    for character in "|<*":
        text = text.replace(character, f"\\{character}")
    return text


def main() -> None:
    """Write the page."""
    PAGE.write_text(reference_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
