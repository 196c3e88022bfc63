# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A table of text, whether a terminal shows it or a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class TextTable:
    """Rows of text under named columns, the first of which says what a row is about.

    Attributes:
        title: what it shows.
        columns: their names.
        rows: a text for each column.
        caption: what holds for all of it; may be empty.
        words: the columns, besides the first, that hold words: flush left, others right.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    words: frozenset[str] = frozenset()

    def on_terminal(self, styles: Mapping[str, str] | None = None) -> Table:
        """The table as rich prints it; `styles` are those of cells that are such a word."""
        table = Table(title=self.title, title_justify="left", caption_justify="left")
        table.add_column(escape(self.columns[0]), no_wrap=True)
        for column in self.columns[1:]:
            table.add_column(escape(column), justify="left" if column in self.words else "right")
        for row in self.rows:
            table.add_row(*(Text(cell, (styles or {}).get(cell, "")) for cell in row))
        table.caption = escape(self.caption) or None
        return table
