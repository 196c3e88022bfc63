# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A table of text, for a terminal or a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class TextTable:
    """Rows of text under named columns, the first of which names the row.

    Attributes:
        title: the title above the table.
        columns: the names of the columns.
        rows: a text for each column.
        caption: the text below the table; may be empty.
        left_aligned: the columns, besides the first, that are aligned to the left.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    left_aligned: frozenset[str] = frozenset()

    def on_terminal(self, styles: Mapping[str, str] | None = None) -> Table:
        """Return the table for rich.

        Args:
            styles: a style for each text of a cell that has one.
        """
        table = Table(title=self.title, title_justify="left", caption_justify="left")
        table.add_column(escape(self.columns[0]), no_wrap=True)
        for column in self.columns[1:]:
            table.add_column(
                escape(column), justify="left" if column in self.left_aligned else "right"
            )
        for row in self.rows:
            table.add_row(*(Text(cell, (styles or {}).get(cell, "")) for cell in row))
        table.caption = escape(self.caption) or None
        return table
