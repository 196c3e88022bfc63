# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Figures as SVG that stands in a page: the same for the same data, and legible on a phone.

A figure is as wide as a phone, so that its letters are not scaled down there; wider screens show
several beside one another. Letters stay text, which the page sets in its own font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from failure_monitor.display.appearance import (
    APPEARANCES,
    BLACK,
    BLUE,
    BLUISH_GREEN,
    GREY,
    REDDISH_PURPLE,
    hexadecimal,
)
from failure_monitor.monitoring.alarm import AlarmState

WIDTH = 3.75
"""Inches; 360 pixels of a page."""
HEIGHT = 2.7

INK, PALE = hexadecimal(BLACK), "#d9d9d9"
RULE_COLOUR, CONTROL_COLOUR = hexadecimal(BLUE), hexadecimal(GREY)
ALARM_COLOUR = hexadecimal(APPEARANCES[AlarmState.ALARM].colour)
CONTROL_LINE = (0, (4, 2))

MAX_LETTERS = 24
"""Number of characters after which a name is cut in a figure."""

STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.7,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
}
# Names of tasks and scores are no formulas. Matplotlib 3.5 takes two dollar signs for one.
if "text.parse_math" in matplotlib.rcParams:
    STYLE["text.parse_math"] = False


@dataclass(frozen=True)
class Kind:
    """One kind of rollouts: its colour and its marker, either of which identifies it."""

    title: str
    color: str
    marker: str


HELD_OUT = ", held out"
CALIBRATION = Kind(f"calibration{HELD_OUT}", hexadecimal(BLUE), "s")
SUCCESS = Kind("succeeded", hexadecimal(BLUISH_GREEN), "o")
DISTURBED = Kind("succeeded, though disturbed", hexadecimal(REDDISH_PURPLE), "^")
FAILURE = Kind("failed", ALARM_COLOUR, "x")


@dataclass(frozen=True)
class Drawing:
    """A figure on the page.

    Attributes:
        name: unique on the page.
        title: what it shows.
        reading: how to read it.
        svg: the figure itself.
    """

    name: str
    title: str
    reading: str
    svg: Markup


@contextmanager
def axes(height: float = HEIGHT) -> Iterator[Axes]:
    """Return the axes of a new figure, in the report's style."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure.add_subplot()


def legend_above(drawn: Axes, **settings: Any) -> None:
    """Draw the legend above the axes, from the left edge of the figure on."""
    try:
        drawn.figure.legend(loc="outside upper left", **settings)
    except ValueError:
        # Matplotlib before 3.7 has no such place. There, the legend clears what is marked above
        # the axes, and two columns fit beside one another.
        settings = {**settings, "ncol": 2, "bbox_to_anchor": (-0.1, 1.1), "borderaxespad": 0.0}
        drawn.legend(loc="lower left", **settings)


def drawing(drawn: Axes, *, name: str, title: str, reading: str) -> Drawing:
    """Return the figure of some axes, ready for the page."""
    buffer = io.StringIO()
    style = {**STYLE, "svg.hashsalt": name}
    figure = drawn.get_figure()
    assert isinstance(figure, Figure)
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # Letters that matplotlib's font lacks are the browser's to draw.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True
        )
    return Drawing(name, title, reading, Markup(_inline(buffer.getvalue(), title)))


def shortened(text: str) -> str:
    """Return a name that fits into a figure."""
    return text if len(text) <= MAX_LETTERS else text[: MAX_LETTERS - 1] + "…"


def _inline(svg: str, title: str) -> str:
    """Return an SVG document as an element of a page, without what only documents have."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    # Its style is for all elements of the document it stands in, which is now the page.
    element = re.sub(r"<style[^>]*>.*?</style>", "", element, flags=re.DOTALL)
    # What nothing refers to would be there once for every figure.
    element = re.sub(r'<g id="[^"]*"', "<g", element)
    element = re.sub(r"<!--.*?-->", "", element, flags=re.DOTALL)
    opening, rest = element.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    assert box is not None
    return (
        f'<svg role="img" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]}>'
        f"<title>{escape(title)}</title>{rest.strip()}"
    )
