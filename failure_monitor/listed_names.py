# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Names listed in errors and log lines."""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAMES = 8
"""Number of names that are listed one by one; the rest is counted."""


def list_names(names: Iterable[object]) -> str:
    """Return names in their order, such as `a, b and 3 more`; `none` if there are none."""
    listed = [str(name) for name in names]
    if not listed:
        return "none"
    more = len(listed) - MAX_NAMES
    return ", ".join(listed[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
