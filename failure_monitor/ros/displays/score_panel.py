# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The panel of scores for RViz: bars side by side with curves, labels and the threshold."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Quaternion, Vector3
from numpy.typing import NDArray
from visualization_msgs.msg import Marker

from failure_monitor.display.appearance import WHITE, Colour
from failure_monitor.display.score_bar import FULL_RATIO, bar_colour, bar_share, ratio_text
from failure_monitor.ros.displays.marker_parts import (
    BARS,
    CURVES,
    LABELS,
    THRESHOLD,
    Layout,
    new_marker,
    point,
    rgba,
    text_marker,
    thinned,
)

LABEL_SIZE, LETTER, LINE = 0.7, 0.5, 1.45
"""Height of a label's letters in the layout's size; and their largest width, and the distance of
RViz's lines, in that height."""

MAX_LABEL_LETTERS, MAX_NAME_LINES = 12, 2
"""Letters in a line of a score's name, unless a word of it is longer, and such lines."""

FOOT = 3.3
"""Height of the bars' lower ends above the panel's lower edge, in the layout's size; the labels
stand between the two."""

MAX_CURVE_POINTS = 32
"""Maximum number of points of a curve: some hundreds take a millisecond."""


@dataclass(frozen=True, eq=False)
class ScoreBar:
    """A score and its recent values.

    Attributes:
        name: the score's name.
        level: its normalised value; NaN if undefined.
        curve: float64 (N, 2), age in seconds and normalised value, all finite.
    """

    name: str
    level: float
    curve: NDArray[np.float64]


class ScorePanel:
    """Bars side by side, each with its curve, on an upright plane."""

    HEIGHT = FOOT + 6.5
    """Height of the panel in the layout's size."""

    def __init__(self, layout: Layout, seconds: float) -> None:
        self._layout = layout
        self._seconds = seconds
        self._height = 6 * layout.size
        self._slot = 0.0
        self._bar = 0.8 * layout.size
        self._across = (-math.sin(layout.yaw), math.cos(layout.yaw))

    def scores(self, bars: Sequence[ScoreBar]) -> list[Marker]:
        """Return bars, curves and their labels, and the threshold that is common to all."""
        drawn: list[Marker] = []
        self._slot = _slot_width([bar.name for bar in bars]) * self._layout.size
        for number, bar in enumerate(bars):
            left = self._slot * (number - len(bars) / 2)
            drawn += self._score(number, bar, left)
        if bars:
            drawn += self._threshold(len(bars))
        return drawn

    def _score(self, number: int, bar: ScoreBar, left: float) -> list[Marker]:
        colour = bar_colour(bar.level)
        lines = [*_name_lines(bar.name), ratio_text(bar.level)]
        size = LABEL_SIZE * self._layout.size
        # RViz puts the middle of a text at its place; all labels hang from the same line.
        label = self._place(left + self._bar, -(LINE * len(lines) / 2 + 0.2) * size)
        drawn = [
            text_marker(self._layout, LABELS, number, "\n".join(lines), point(label), size, WHITE)
        ]
        if not np.isnan(bar.level):
            drawn.append(self._bar_marker(number, bar_share(bar.level), left, colour))
        if len(bar.curve) > 1:
            drawn.append(self._curve(number, bar.curve, left, colour))
        return drawn

    def _bar_marker(self, number: int, share: float, left: float, colour: Colour) -> Marker:
        # RViz reports an error for a box without height.
        height = max(share * self._height, 0.02 * self._layout.size)
        marker = new_marker(self._layout, BARS, number, Marker.CUBE)
        marker.pose.position = point(self._place(left + self._bar, height / 2))
        angle = self._layout.yaw / 2
        marker.pose.orientation = Quaternion(z=math.sin(angle), w=math.cos(angle))
        marker.scale = Vector3(x=0.2 * self._bar, y=self._bar, z=height)
        marker.color = rgba(colour)
        return marker

    def _curve(
        self, number: int, curve: NDArray[np.float64], left: float, colour: Colour
    ) -> Marker:
        marker = new_marker(self._layout, CURVES, number, Marker.LINE_STRIP)
        marker.scale.x = 0.1 * self._layout.size
        marker.color = rgba(colour)
        begin, width = left + 2 * self._bar, self._slot - 3 * self._bar
        ages, heights = thinned(curve, MAX_CURVE_POINTS).T
        along = begin + width * (1 - np.clip(ages / self._seconds, 0.0, 1.0))
        up = self._height * np.clip(heights / FULL_RATIO, 0.0, 1.0)
        marker.points = [point(self._place(*place)) for place in zip(along, up, strict=True)]
        return marker

    def _threshold(self, count: int) -> list[Marker]:
        edge, height = self._slot * count / 2, self._height / FULL_RATIO
        line = new_marker(self._layout, THRESHOLD, 0, Marker.LINE_LIST)
        line.scale.x = 0.06 * self._layout.size
        line.color = rgba(WHITE)
        line.points = [point(self._place(side, height)) for side in (-edge, edge)]
        # Above the end of its line, so that it neither hides a curve nor leaves the view.
        place = self._place(edge + 0.5 * self._layout.size, height + 0.6 * self._layout.size)
        size = 0.6 * self._layout.size
        return [
            line,
            text_marker(self._layout, THRESHOLD, 1, "threshold", point(place), size, WHITE),
        ]

    def _place(self, across: float, up: float) -> tuple[float, float, float]:
        """Return a point of the panel; the middle of its lower edge is the layout's `panel`."""
        x, y, z = self._layout.panel
        along_x, along_y = self._across
        return x + across * along_x, y + across * along_y, z + up + FOOT * self._layout.size


def _slot_width(names: Sequence[str]) -> float:
    """Return the width of a bar with its curve, in the layout's size: no label is wider."""
    letters = max((len(line) for name in names for line in _name_lines(name)), default=0)
    # A ratio is no longer than "undefined", so bars do not move when it changes.
    return LABEL_SIZE * LETTER * max(letters, len("undefined")) + 1.2


def _name_lines(name: str) -> list[str]:
    """Return the name of a score in lines, broken behind what joins its words."""
    words = re.findall(r"[^_:/]*[_:/]?", name)
    lines = [""]
    for word in filter(None, words):
        if lines[-1] and len(lines[-1] + word) > MAX_LABEL_LETTERS and len(lines) < MAX_NAME_LINES:
            lines.append("")
        lines[-1] += word
    return lines
