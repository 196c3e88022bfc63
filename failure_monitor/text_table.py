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


def printable(text: str, max_letters: int = 400) -> str:
    """Return a text that moves no cursor and hides no letters, and is not too long.

    Names come from files: what no terminal prints, such as escapes and marks of direction, is
    written as Python does.

    Args:
        text: any text.
        max_letters: after how many it is cut.
    """
    cut = text if len(text) <= max_letters else text[: max_letters - 1] + "…"
    return "".join(
        # Surrogates stand for bytes of names of files that are no text.
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in cut
    )
