# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A table of text, for a terminal or a page."""

from __future__ import annotations

from dataclasses import dataclass


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
