# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads tables that are written by hand, as CSV whose first row names the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from failure_monitor.sources.addresses import read_file
from failure_monitor.sources.source import SourceError

MAX_BYTES = 64 << 20
"""A larger file is not read: nobody wrote it by hand."""


def read_text(path: Path) -> str:
    """Return the text of a file, with or without a byte-order mark.

    Raises:
        SourceError: It cannot be read, is too large, or is not UTF-8.
    """
    try:
        if path.exists() and path.stat().st_size > MAX_BYTES:
            raise SourceError(f"{path} has more than {MAX_BYTES} bytes: name the right file")
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not text in UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None


def read_rows(
    path: Path, text: str, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table, each with the number of its line and its fields by column.

    Args:
        path: The file, for errors.
        text: Its content.
        required: The columns that it must have, in any order.
        optional: The columns that it may have.

    Raises:
        SourceError: It is not CSV, has other columns, or a row has more or fewer fields.
    """
    try:
        reader = csv.DictReader(
            io.StringIO(text, newline=None), skipinitialspace=True, strict=True
        )
        columns = reader.fieldnames or ()
        known = {*required, *optional}
        is_named_twice = len(set(columns)) < len(columns)
        if is_named_twice or not set(required) <= set(columns) <= known:
            some = f" and some of {', '.join(optional)}" if optional else ""
            raise SourceError(
                f"{path} has the columns {', '.join(columns) or 'none'}, expected "
                f"{', '.join(required)}{some}, each once: name them in the first row"
            )
        for number, row in enumerate(reader, start=2):
            # A row that is too long keeps its rest under None, one that is too short has Nones.
            if None in row or None in row.values():
                raise SourceError(
                    f"{path}, line {number}: there are more or fewer fields than the "
                    f"{len(columns)} columns: separate them by commas"
                )
            yield number, row
    except csv.Error as error:
        raise SourceError(f"{path} is not CSV ({error}): correct it") from None
