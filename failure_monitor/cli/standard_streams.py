# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Standard output and error take every text, whatever they can write, and even where closed."""

from __future__ import annotations

import codecs
import io
import os
import sys

STAND_INS = str.maketrans("–—…×≤≥≈→✔✖▲│─·“”‘’α", "--.x<>~>+x!|-.\"\"''a")
"""What is printed instead of a character that is missing, where a question mark says less."""

HANDLER = "failure_monitor.stand_in"


def prepare_streams() -> None:
    """Have standard output and error write something for every character.

    Standard streams that are closed are opened on nothing, so that no file gets their number.
    """
    _fill_closed()
    codecs.register_error(HANDLER, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def drop_output() -> None:
    """Drop what nobody reads any more; Python would fail again at exit, when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fill_closed() -> None:
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    """Return what is written for characters that an encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        # A byte of a file's name that is no text.
        return f"\\x{number - 0xDC00:02x}"
    plain = character.translate(STAND_INS)
    return plain if plain.isascii() else "?"
