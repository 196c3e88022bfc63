# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The page: one HTML file that holds all it shows and asks nothing of any network.

Text from data is escaped by the template; a policy that the page states of itself lets a browser
load nothing and run nothing, whatever stands in it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from failure_monitor import __version__
from failure_monitor.atomic_file import write_atomically, write_folder_atomically
from failure_monitor.bundle.promise_text import Row
from failure_monitor.errors import FailureMonitorError
from failure_monitor.report.drawing import Drawing
from failure_monitor.report.headline import KeyFigure
from failure_monitor.report.rollout_row import HEIGHT, WIDTH, RowGroup
from failure_monitor.text_table import TextTable

PAGE_FILE = "index.html"
GENERATOR = '<meta name="generator" content="failure_monitor'
"""Mark by which a report of this package is recognised."""
HEAD = 2000
"""Characters among which that stands."""

MAX_ROWS_OPEN = 40
"""Longer lists of rollouts are folded until somebody opens them, or prints the page."""


class ReportError(FailureMonitorError):
    """A report that cannot be written where it is asked for."""


@dataclass(frozen=True)
class Picture:
    """A camera frame: a JPEG, what it shows, and whether the alarm came there."""

    jpeg: bytes
    caption: str
    is_alarm: bool

    @property
    def address(self) -> str:
        """The picture itself, as the address of an image."""
        return f"data:image/jpeg;base64,{b64encode(self.jpeg).decode('ascii')}"


@dataclass(frozen=True)
class Card:
    """A rollout that is shown in full.

    Attributes:
        name: the name of the rollout.
        belongs_to: its group and task.
        why: what it is an example of.
        words: what became of it.
        figure: the figure of its scores.
        pictures: what the camera saw.
        remark: where the pictures come from, or why they are missing.
    """

    name: str
    belongs_to: str
    why: str
    words: str
    figure: Drawing
    pictures: tuple[Picture, ...]
    remark: str


@dataclass(frozen=True)
class PageSection:
    """A part of the page; what it lacks is left out.

    Attributes:
        anchor: its address within the page.
        title: its heading.
        paragraphs: what to know first.
        rows: a name and a text each.
        figures: figures, beside one another where there is room.
        tables: tables beneath the figures.
        folded: tables that are shown on demand, and in print.
        commands: command lines.
        cards: rollouts that are shown in full.
        row_groups: rollouts that are shown in a line each.
        details: remarks on what was found.
    """

    anchor: str
    title: str
    paragraphs: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    rows: tuple[Sequence[Row], ...] = ()
    figures: tuple[Drawing, ...] = ()
    tables: tuple[TextTable, ...] = ()
    folded: tuple[TextTable, ...] = ()
    details: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    row_groups: tuple[RowGroup, ...] = ()


@dataclass(frozen=True)
class Page:
    """The content of the whole page.

    Attributes:
        title: the title of the page.
        lead: the sentences to read if nothing else is.
        key_figures: the numbers in them.
        sections: the sections in their order.
        made: the date of the page, as text.
    """

    title: str
    lead: tuple[str, ...]
    key_figures: tuple[KeyFigure, ...]
    sections: tuple[PageSection, ...]
    made: str


def render(page: Page) -> str:
    """Return the page as HTML."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("failure_monitor.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("page.html").render(
        page=page,
        version=__version__,
        row_width=WIDTH,
        row_height=HEIGHT,
        max_rows_open=MAX_ROWS_OPEN,
    )


def reject_other_content(folder: Path) -> None:
    """Reject a folder whose page is not a report of this package; other files may lie there.

    Raises:
        ReportError: it is no folder, or its `index.html` is no report of this package.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise ReportError(f"the report {folder} is a file: name a folder")
    except OSError as error:
        raise ReportError(f"cannot read the report's folder {folder}: {error}") from None
    reject_other_page(folder / PAGE_FILE)


def reject_other_page(page: Path) -> None:
    """Reject a file that is no page of this package.

    Raises:
        ReportError: it holds something else.
    """
    try:
        if page.is_file() and GENERATOR not in _head(page):
            raise ReportError(
                f"{page} is there and no report of failure-monitor: name another place"
            )
    except OSError as error:
        raise ReportError(f"cannot read {page}: {error}") from None


def _head(page: Path) -> str:
    with page.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(HEAD)


def write(page: Page, folder: Path) -> Path:
    """Write the page as `index.html`, replacing a report; it appears once it is complete.

    Returns:
        The file.

    Raises:
        ReportError: the folder holds another page.
        UnwritableError: the page cannot be written.
    """
    reject_other_content(folder)
    html = render(page)
    if folder.exists():
        write_atomically(folder / PAGE_FILE, html)
    else:
        write_folder_atomically(folder, {PAGE_FILE: html.encode(errors="backslashreplace")})
    return folder / PAGE_FILE
