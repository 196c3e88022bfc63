# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor thinks, drawn for RViz: state and reason, scores, and the fan of chunks.

Every marker has a fixed namespace and id, so that the next one takes its place, and a lifetime,
so that all of them vanish with the monitor. No number in them is NaN or infinite.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from failure_monitor.display.appearance import (
    APPEARANCES,
    GREY,
    SKY_BLUE,
    VERMILLION,
    WHITE,
    Colour,
    plain_letters,
)
from failure_monitor.display.score_bar import FULL_RATIO, bar_colour, bar_share, ratio_text
from failure_monitor.monitoring.alarm import AlarmStatus

STATE, REASON, BARS, CURVES, LABELS, THRESHOLD, FAN, CHOSEN, TRUST = (
    f"failure_monitor/{name}"
    for name in (
        "state",
        "reason",
        "bars",
        "curves",
        "labels",
        "threshold",
        "fan",
        "chosen_chunk",
        "trusted_horizon",
    )
)
"""The namespaces: RViz lists them, each with a box to tick."""

NAMESPACES = (STATE, REASON, BARS, CURVES, LABELS, THRESHOLD, FAN, CHOSEN, TRUST)

MOST_LINES, LINE_LETTERS = 4, 64
"""Of the reason: a line is not wider than the panel of five scores and the rule."""

REASON_SIZE, LINE_SPACING = 0.9, 1.45
"""Of its letters, in the layout's size, and from line to line, in theirs, as RViz does it."""

MOST_DRAWN, MOST_STEPS = 24, 8
"""Samples of a fan and steps of each: of more, these are taken evenly."""

MOST_CURVE_POINTS = 32
"""What a marker costs is its points: a millisecond for some hundreds."""


Values = TypeVar("Values", bound=np.generic)


@dataclass(frozen=True)
class Layout:
    """Where things are drawn, in metres.

    Attributes:
        frame: to which everything refers; that of Cartesian chunks.
        panel: the lower left corner of the panel of scores.
        yaw: the direction, in radians about z, in which the panel looks; 0 is along x.
        size: the height of a line of text; all else is in proportion.
        seconds: how long the markers live.
    """

    frame: str
    panel: tuple[float, float, float]
    yaw: float
    size: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Fan:
    """The sampled chunks of a decision, in space.

    Attributes:
        paths: float64 (B, 1 + H, 3), metres; NaN where a sample cannot be drawn.
        disagreement: float64 (B, 1 + H), 0 for samples that agree, 1 and more for others.
        chosen: the number of the sample that is executed.
        trusted: how many of its actions are trusted; None where nobody says.
    """

    paths: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    chosen: int = 0
    trusted: int | None = None


@dataclass(frozen=True, eq=False)
class ScoreBar:
    """A score and its course.

    Attributes:
        name: of the score.
        level: normalised; NaN is undefined.
        curve: float64 (N, 2), seconds ago and normalised, all finite.
    """

    name: str
    level: float
    curve: NDArray[np.float64]


def markers(
    status: AlarmStatus,
    bars: Sequence[ScoreBar],
    fan: Fan | None,
    layout: Layout,
    *,
    seconds: float,
) -> list[Marker]:
    """All markers of this moment.

    Args:
        status: of the alarm.
        bars: a score each.
        fan: the chunks; None where there are none, or none that can be drawn.
        layout: where.
        seconds: how far back the curves reach.
    """
    panel = _Panel(layout, seconds)
    drawn = [*_state(status, layout), *panel.scores(bars)]
    return drawn if fan is None else drawn + _fan(fan, layout)


def delete_all(frame: str) -> Marker:
    """The marker that removes every other."""
    return Marker(header=Header(frame_id=frame), action=Marker.DELETEALL)


def _marker(layout: Layout, namespace: str, number: int, kind: int) -> Marker:
    seconds, fraction = divmod(layout.seconds, 1.0)
    # No stamp: RViz then takes the newest transform, and never has one that is too old.
    return Marker(
        header=Header(frame_id=layout.frame),
        ns=namespace,
        id=number,
        type=kind,
        action=Marker.ADD,
        pose=Pose(orientation=Quaternion(w=1.0)),
        lifetime=Duration(sec=int(seconds), nanosec=int(1e9 * fraction)),
        frame_locked=True,
    )


def _text(
    layout: Layout, namespace: str, number: int, text: str, place: Point, size: float, ink: Colour
) -> Marker:
    marker = _marker(layout, namespace, number, Marker.TEXT_VIEW_FACING)
    marker.pose.position = place
    marker.scale.z = size
    marker.color = _colour(ink)
    # RViz draws nothing, and says so, where a text is empty.
    marker.text = plain_letters(text) or " "
    return marker


def _colour(colour: Colour, opacity: float = 1.0) -> ColorRGBA:
    red, green, blue = (part / 255 for part in colour)
    return ColorRGBA(r=red, g=green, b=blue, a=opacity)


def _point(coordinates: Sequence[float] | NDArray[np.float64]) -> Point:
    x, y, z = (float(coordinate) for coordinate in coordinates)
    return Point(x=x, y=y, z=z)


# State and reason


def _state(status: AlarmStatus, layout: Layout) -> list[Marker]:
    look, size = APPEARANCES[status.state], layout.size
    x, y, z = layout.panel
    halted = ", halted" if status.halted else ""
    word = f"{look.sign} {status.state.value}{halted}"
    lines = textwrap.wrap(status.reason, LINE_LETTERS) or [""]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], lines[MOST_LINES - 1][: LINE_LETTERS - 4] + " ..."]
    above = z + 9 * size
    reason_height = LINE_SPACING * REASON_SIZE * size * len(lines)
    return [
        _text(
            layout,
            STATE,
            0,
            word,
            Point(x=x, y=y, z=above + reason_height + 1.6 * size),
            2.0 * size,
            look.colour,
        ),
        _text(
            layout,
            REASON,
            0,
            "\n".join(lines),
            Point(x=x, y=y, z=above + reason_height / 2),
            REASON_SIZE * size,
            WHITE,
        ),
    ]


# The panel of scores


class _Panel:
    """Bars side by side, each with its curve, on a plane that stands upright."""

    def __init__(self, layout: Layout, seconds: float) -> None:
        self._layout = layout
        self._seconds = seconds
        self._height = 6 * layout.size
        self._slot = 5 * layout.size
        self._bar = 0.8 * layout.size
        self._across = (-math.sin(layout.yaw), math.cos(layout.yaw))

    def scores(self, bars: Sequence[ScoreBar]) -> list[Marker]:
        """Bars, curves and their words, and the threshold that is common to all."""
        drawn: list[Marker] = []
        for number, bar in enumerate(bars):
            left = self._slot * (number - len(bars) / 2)
            drawn += self._score(number, bar, left)
        if bars:
            drawn += self._threshold(len(bars))
        return drawn

    def _score(self, number: int, bar: ScoreBar, left: float) -> list[Marker]:
        colour = bar_colour(bar.level)
        words = f"{bar.name}\n{ratio_text(bar.level)}"
        middle = left + self._slot / 2
        label = self._place(middle, -1.0 * self._layout.size)
        drawn = [
            _text(
                self._layout, LABELS, number, words, _point(label), 0.7 * self._layout.size, WHITE
            )
        ]
        if not np.isnan(bar.level):
            drawn.append(self._bar_marker(number, bar_share(bar.level), left, colour))
        if len(bar.curve) > 1:
            drawn.append(self._curve(number, bar.curve, left, colour))
        return drawn

    def _bar_marker(self, number: int, share: float, left: float, colour: Colour) -> Marker:
        # A box without height is an error to RViz.
        height = max(share * self._height, 0.02 * self._layout.size)
        marker = _marker(self._layout, BARS, number, Marker.CUBE)
        marker.pose.position = _point(self._place(left + self._bar, height / 2))
        half = self._layout.yaw / 2
        marker.pose.orientation = Quaternion(z=math.sin(half), w=math.cos(half))
        marker.scale = Vector3(x=0.2 * self._bar, y=self._bar, z=height)
        marker.color = _colour(colour)
        return marker

    def _curve(
        self, number: int, curve: NDArray[np.float64], left: float, colour: Colour
    ) -> Marker:
        marker = _marker(self._layout, CURVES, number, Marker.LINE_STRIP)
        marker.scale.x = 0.1 * self._layout.size
        marker.color = _colour(colour)
        begin, width = left + 2 * self._bar, self._slot - 3 * self._bar
        ages, heights = _thinned(curve, MOST_CURVE_POINTS).T
        along = begin + width * (1 - np.clip(ages / self._seconds, 0.0, 1.0))
        up = self._height * np.clip(heights / FULL_RATIO, 0.0, 1.0)
        marker.points = [_point(self._place(*place)) for place in zip(along, up, strict=True)]
        return marker

    def _threshold(self, count: int) -> list[Marker]:
        half, height = self._slot * count / 2, self._height / FULL_RATIO
        line = _marker(self._layout, THRESHOLD, 0, Marker.LINE_LIST)
        line.scale.x = 0.06 * self._layout.size
        line.color = _colour(WHITE)
        line.points = [_point(self._place(side, height)) for side in (-half, half)]
        word = self._place(half + 2 * self._layout.size, height)
        size = 0.6 * self._layout.size
        return [line, _text(self._layout, THRESHOLD, 1, "threshold", _point(word), size, WHITE)]

    def _place(self, across: float, up: float) -> tuple[float, float, float]:
        """A point of the panel, whose lower edge has its middle at the layout's panel."""
        x, y, z = self._layout.panel
        along_x, along_y = self._across
        return x + across * along_x, y + across * along_y, z + up + 2.5 * self._layout.size


# The fan of chunks


def _fan(fan: Fan, layout: Layout) -> list[Marker]:
    known = np.flatnonzero(~np.isnan(fan.paths[:, 0, 0]))
    if len(known) == 0:
        return []
    drawn = [_samples(fan, _thinned(known, MOST_DRAWN), layout)]
    if fan.chosen in known:
        drawn += _chosen(fan, layout)
    return drawn


def _samples(fan: Fan, taken: NDArray[np.intp], layout: Layout) -> Marker:
    marker = _marker(layout, FAN, 0, Marker.LINE_LIST)
    marker.scale.x = 0.05 * layout.size
    marker.color = _colour(WHITE)
    steps = _thinned(np.arange(fan.paths.shape[1]), MOST_STEPS + 1)
    ends = np.repeat(np.arange(len(steps)), 2)[1:-1]
    places, apart = fan.paths[taken][:, steps], fan.disagreement[taken][:, steps]
    for path, shades in zip(places, _shades(apart), strict=True):
        points = [_point(place) for place in path]
        marker.points += [points[end] for end in ends]
        marker.colors += [shades[end] for end in ends]
    return marker


def _thinned(values: NDArray[Values], most: int) -> NDArray[Values]:
    """As many of the values as may be, evenly, the first and the last among them."""
    count = min(len(values), most)
    return values[np.linspace(0, len(values) - 1, count).round().astype(int)]


def _shades(disagreement: NDArray[np.float64]) -> list[list[ColorRGBA]]:
    """From sky blue, where samples agree, to vermillion, where they are apart."""
    share = np.clip(disagreement, 0.0, 1.0)[..., np.newaxis]
    mixed = (1 - share) * np.array(SKY_BLUE) + share * np.array(VERMILLION)
    return [
        [ColorRGBA(r=red, g=green, b=blue, a=0.8) for red, green, blue in path]
        for path in (mixed / 255).tolist()
    ]


def _chosen(fan: Fan, layout: Layout) -> list[Marker]:
    """The sample that is executed: wide as far as it is trusted, narrow from there on."""
    path = [_point(place) for place in fan.paths[fan.chosen]]
    actions = len(path) - 1
    trusted = actions if fan.trusted is None else min(max(fan.trusted, 0), actions)
    drawn = []
    parts = ((0, path[: trusted + 1], WHITE, 0.2), (1, path[trusted:], GREY, 0.1))
    for number, points, colour, width in parts:
        if len(points) > 1:
            line = _marker(layout, CHOSEN, number, Marker.LINE_STRIP)
            line.scale.x = width * layout.size
            line.color = _colour(colour)
            line.points = points
            drawn.append(line)
    if fan.trusted is not None:
        drawn += _trust(path[trusted], f"{trusted} of {actions} trusted", layout)
    return drawn


def _trust(end: Point, words: str, layout: Layout) -> list[Marker]:
    ball = _marker(layout, TRUST, 0, Marker.SPHERE)
    ball.pose.position = end
    ball.scale = Vector3(**dict.fromkeys("xyz", 0.5 * layout.size))
    ball.color = _colour(WHITE)
    above = Point(x=end.x, y=end.y, z=end.z + 2.0 * layout.size)
    return [ball, _text(layout, TRUST, 1, words, above, 0.6 * layout.size, WHITE)]
