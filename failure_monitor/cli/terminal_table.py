# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A table of text as a terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from failure_monitor.printable_text import printable
from failure_monitor.text_table import TextTable


def terminal_table(
    table: TextTable, styles: Mapping[str, str] | None = None, *, is_compact: bool = False
) -> Table:
    """Return a table for rich.

    Args:
        table: the texts.
        styles: a style for each text of a cell that has one.
        is_compact: whether each row is a line, without rules, however narrow the terminal is.
    """
    drawn = Table(title=escape(table.title), title_justify="left", caption_justify="left")
    if is_compact:
        drawn.box, drawn.padding, drawn.pad_edge = None, (0, 1, 0, 0), False
    drawn.add_column(escape(table.columns[0]), no_wrap=True)
    for column in table.columns[1:]:
        drawn.add_column(
            escape(column),
            justify="left" if column in table.left_aligned else "right",
            no_wrap=is_compact,
        )
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell), (styles or {}).get(cell, "")) for cell in row))
    drawn.caption = escape(table.caption) or None
    return drawn
