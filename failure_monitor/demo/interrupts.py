# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and `kill` at moments when they would leave processes behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDINGS = (signal.SIGINT, signal.SIGTERM)
"""What asks the demo to end."""


def interrupt(number: int, frame: object) -> None:
    """Handle a signal as Python handles Ctrl-C."""
    raise KeyboardInterrupt


def unwind_on_signals() -> None:
    """Have Ctrl-C and `kill` unwind the same way, so that all that was started is ended.

    Also where a shell script has Ctrl-C ignored, which the nodes would inherit.
    """
    for number in ENDINGS:
        signal.signal(number, interrupt)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put an interrupt off until the end of the block.

    A process that is just being started would otherwise run on without anybody knowing of it.
    """
    held: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: held.append(number))
        for number in ENDINGS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt
