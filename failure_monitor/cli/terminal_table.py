# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A table of text as a terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from failure_monitor.text_table import TextTable


def terminal_table(table: TextTable, styles: Mapping[str, str] | None = None) -> Table:
    """Return a table for rich.

    Args:
        table: the texts.
        styles: a style for each text of a cell that has one.
    """
    drawn = Table(title=table.title, title_justify="left", caption_justify="left")
    drawn.add_column(escape(table.columns[0]), no_wrap=True)
    for column in table.columns[1:]:
        drawn.add_column(
            escape(column), justify="left" if column in table.left_aligned else "right"
        )
    for row in table.rows:
        drawn.add_row(*(Text(cell, (styles or {}).get(cell, "")) for cell in row))
    drawn.caption = escape(table.caption) or None
    return drawn
