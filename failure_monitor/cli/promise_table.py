# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle promises, as a table."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.promise_text import promise_rows


def promise_table(calibrated: Bundle) -> Table:
    """Return the promise as text, and what it rests on."""
    table = Table(title="What this bundle promises", show_header=False, title_justify="left")
    for section in promise_rows(calibrated):
        for at, (what, words) in enumerate(section, start=1):
            table.add_row(escape(what), escape(words), end_section=at == len(section))
    return table
