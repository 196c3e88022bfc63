# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A table of text as a terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from failure_monitor.printable_text import printable
from failure_monitor.text_table import TextTable

WIDTH = 80
"""Characters in a line of the narrowest terminal in which every heading and number is whole."""

NAME_WIDTH = 16
"""Characters of the names of rows in such a line, beyond which they go on in the next."""


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
    widths = [_width(table, column) for column in range(len(table.columns))]
    is_wide = NAME_WIDTH + sum(widths[1:]) + 3 * len(widths) + 1 > WIDTH
    if is_compact:
        drawn.box, drawn.padding, drawn.pad_edge = None, (0, 1, 0, 0), False
    elif is_wide:
        drawn.box, drawn.padding, drawn.pad_edge = box.SIMPLE_HEAD, (0, 0), False
    drawn.add_column(escape(table.columns[0]), no_wrap=is_compact, overflow="fold")
    for column, width in zip(table.columns[1:], widths[1:], strict=True):
        drawn.add_column(
            escape(column),
            justify="left" if column in table.left_aligned else "right",
            no_wrap=is_compact,
            # A word that is longer than its column goes on in the next line.
            overflow="fold",
            width=width if is_wide and not is_compact else None,
            min_width=None if is_compact else width,
        )
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell), (styles or {}).get(cell, "")) for cell in row))
    drawn.caption = escape(table.caption) or None
    return drawn


def _width(table: TextTable, column: int) -> int:
    """Return the characters that a column needs: of a number all, of a text its longest word."""
    cells = [printable(row[column]) for row in table.rows]
    if not column or table.columns[column] in table.left_aligned:
        cells = [word for cell in cells for word in cell.split()]
    needed = max(map(cell_len, (*table.columns[column].split(), *cells)), default=0)
    return min(needed, NAME_WIDTH)
