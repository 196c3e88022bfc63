# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Text of strangers, before it stands in a log line, a message or a file.

What comes on a topic may be a megabyte long, contain what makes a terminal show other lines than
those that were logged, or a lone surrogate, which neither logs nor messages can hold.
"""

from __future__ import annotations

USUAL_LIMIT = 400


def printable(text: str, limit: int = USUAL_LIMIT) -> str:
    """Return text in one line of printable characters, with escapes for all others.

    Args:
        text: any text.
        limit: how many of its characters are kept; dots stand for the rest.
    """
    kept = "".join(one if one.isprintable() else _escape(one) for one in text[:limit])
    return f"{kept}..." if len(text) > limit else kept


def _escape(character: str) -> str:
    # Python holds a byte of a file's name that is no text as one of these.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
