# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A table of text, whether a terminal shows it or a page."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class TextTable:
    """Rows of text under named columns, the first of which says what a row is about.

    Attributes:
        title: what it shows.
        columns: their names.
        rows: a text for each column.
        caption: what holds for all of it; may be empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def on_terminal(self) -> Table:
        """The table as rich prints it."""
        table = Table(title=self.title, title_justify="left", caption_justify="left")
        table.add_column(escape(self.columns[0]), no_wrap=True)
        for column in self.columns[1:]:
            table.add_column(escape(column), justify="right")
        for row in self.rows:
            table.add_row(*(escape(cell) for cell in row))
        table.caption = escape(self.caption) or None
        return table
