# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How far reading is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from failure_monitor.cli.app import progress as console

if TYPE_CHECKING:
    from failure_monitor.sources.reading import ReadSoFar

LINE_PERIOD = 10.0
"""Seconds between two lines."""


@contextmanager
def shown_progress() -> Iterator[Callable[[ReadSoFar], None]]:
    """Show how far reading is; yield what updates the display."""
    if console.is_terminal:
        with _bar() as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Callable[[ReadSoFar], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("reading")

        def show(so_far: ReadSoFar) -> None:
            bars.update(
                task,
                description=f"reading {so_far.sources} of {so_far.of_sources}",
                completed=so_far.size,
                total=so_far.of_size,
            )

        yield show


def _lines() -> Callable[[ReadSoFar], None]:
    begin = last = time.monotonic()

    def show(so_far: ReadSoFar) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_PERIOD:
            last = now
            console.print(_line(so_far, now - begin), highlight=False, soft_wrap=True)

    return show


def _line(so_far: ReadSoFar, seconds: float) -> str:
    """Return how far reading is, how fast it was, and how long it will take."""
    text = (
        f"read {so_far.sources} of {so_far.of_sources} sources, "
        f"{1e-6 * so_far.size:.1f} of {1e-6 * so_far.of_size:.1f} MB"
    )
    if not so_far.size or seconds <= 0:
        return text
    left = seconds * (so_far.of_size / so_far.size - 1)
    return f"{text}, {1e-6 * so_far.size / seconds:.1f} MB/s, about {left:.0f} s left"
