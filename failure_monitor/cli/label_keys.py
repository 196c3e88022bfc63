# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Keys by which an operator labels rollouts while a terminal shows a picture."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

KEYS = {"s": "success", "f": "failure"}
"""The word of each key."""


@contextmanager
def keys_of_terminal() -> Iterator[Callable[[], list[str]]]:
    """Yield what returns the words of the keys that were pressed since; none without a terminal.

    Keys are read at once and not shown, and Ctrl-C is what it was; the terminal is restored.
    """
    if sys.stdin is None or not sys.stdin.isatty() or _is_in_background(sys.stdin.fileno()):
        yield list
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield lambda: _pressed(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _is_in_background(descriptor: int) -> bool:
    """Return whether a shell would stop this process for changing its terminal."""
    try:
        return os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:  # a terminal that controls no process
        return False


def _pressed(descriptor: int) -> list[str]:
    if not select.select([descriptor], [], [], 0)[0]:
        return []
    pressed = os.read(descriptor, 1024).decode("ascii", "ignore")
    return [KEYS[key] for key in pressed.lower() if key in KEYS]
