# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The fan of sampled chunks for RViz, with the executed sample and how far it is trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from failure_monitor.display.appearance import GREY, SKY_BLUE, VERMILLION, WHITE
from failure_monitor.ros.displays.marker_parts import (
    CHOSEN,
    FAN,
    TRUST,
    Layout,
    new_marker,
    point,
    rgba,
    text_marker,
    thinned,
)

MAX_SAMPLES, MAX_STEPS = 24, 8
"""Maximum number of drawn samples, and of steps in each, evenly chosen from more."""


@dataclass(frozen=True, eq=False)
class Fan:
    """The sampled chunks of a decision, in space.

    Attributes:
        paths: float64 (B, 1 + H, 3), metres; NaN where a sample cannot be drawn.
        disagreement: float64 (B, 1 + H), 0 for samples that agree, 1 and more for others.
        chosen: the index of the sample that is executed.
        trusted: how many of its actions are trusted; None if unknown.
    """

    paths: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    chosen: int = 0
    trusted: int | None = None


def fan_markers(fan: Fan, layout: Layout) -> list[Marker]:
    """Return the markers of a fan; none if no sample can be drawn."""
    known = np.flatnonzero(~np.isnan(fan.paths[:, 0, 0]))
    if len(known) == 0:
        return []
    drawn = [_samples(fan, thinned(known, MAX_SAMPLES), layout)]
    if fan.chosen in known:
        drawn += _chosen(fan, layout)
    return drawn


def _samples(fan: Fan, taken: NDArray[np.intp], layout: Layout) -> Marker:
    marker = new_marker(layout, FAN, 0, Marker.LINE_LIST)
    marker.scale.x = 0.05 * layout.size
    marker.color = rgba(WHITE)
    steps = thinned(np.arange(fan.paths.shape[1]), MAX_STEPS + 1)
    ends = np.repeat(np.arange(len(steps)), 2)[1:-1]
    places, apart = fan.paths[taken][:, steps], fan.disagreement[taken][:, steps]
    for path, shades in zip(places, _shades(apart), strict=True):
        points = [point(place) for place in path]
        marker.points += [points[end] for end in ends]
        marker.colors += [shades[end] for end in ends]
    return marker


def _shades(disagreement: NDArray[np.float64]) -> list[list[ColorRGBA]]:
    """Return colours from sky blue, where samples agree, to vermillion, where they do not."""
    share = np.clip(disagreement, 0.0, 1.0)[..., np.newaxis]
    mixed = (1 - share) * np.array(SKY_BLUE) + share * np.array(VERMILLION)
    return [
        [ColorRGBA(r=red, g=green, b=blue, a=0.8) for red, green, blue in path]
        for path in (mixed / 255).tolist()
    ]


def _chosen(fan: Fan, layout: Layout) -> list[Marker]:
    """Return the executed sample, wide as far as it is trusted and narrow from there on."""
    path = [point(place) for place in fan.paths[fan.chosen]]
    actions = len(path) - 1
    trusted = actions if fan.trusted is None else min(max(fan.trusted, 0), actions)
    drawn = []
    parts = ((0, path[: trusted + 1], WHITE, 0.2), (1, path[trusted:], GREY, 0.1))
    for number, points, colour, width in parts:
        if len(points) > 1:
            line = new_marker(layout, CHOSEN, number, Marker.LINE_STRIP)
            line.scale.x = width * layout.size
            line.color = rgba(colour)
            line.points = points
            drawn.append(line)
    if fan.trusted is not None:
        top = float(np.nanmax(fan.paths[:, :, 2]))
        drawn += _trust(path[trusted], top, f"{trusted} of {actions} trusted", layout)
    return drawn


def _trust(end: Point, top: float, text: str, layout: Layout) -> list[Marker]:
    """Return a ball at the last action that is trusted, and a text above the fan."""
    ball = new_marker(layout, TRUST, 0, Marker.SPHERE)
    ball.pose.position = end
    ball.scale = Vector3(**dict.fromkeys("xyz", 0.5 * layout.size))
    ball.color = rgba(WHITE)
    above = Point(x=end.x, y=end.y, z=top + 1.0 * layout.size)
    return [ball, text_marker(layout, TRUST, 1, text, above, 0.6 * layout.size, WHITE)]
