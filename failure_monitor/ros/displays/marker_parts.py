# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What all markers have in common: layout, namespaces, colours and points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from failure_monitor.display.appearance import Colour, plain_letters

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
"""The namespaces, which RViz lists with a check box each."""

SPACE = 0.5
"""Width of a space in the height of the letters."""

Values = TypeVar("Values", bound=np.generic)


@dataclass(frozen=True)
class Layout:
    """Where things are drawn, in metres.

    Attributes:
        frame: the frame of all markers, which is that of Cartesian chunks.
        panel: the lower left corner of the panel of scores.
        yaw: the direction in which the panel faces, in radians about z; 0 is along x.
        size: the height of a line of text; everything else is in proportion.
        seconds: the lifetime of the markers.
    """

    frame: str
    panel: tuple[float, float, float]
    yaw: float
    size: float
    seconds: float


def delete_all(frame: str) -> Marker:
    """Return the marker that removes all others."""
    return Marker(header=Header(frame_id=frame), action=Marker.DELETEALL)


def new_marker(layout: Layout, namespace: str, number: int, kind: int) -> Marker:
    """Return a marker of a kind with fixed namespace and number, to be completed."""
    seconds, fraction = divmod(layout.seconds, 1.0)
    # No stamp: RViz then uses the newest transform, which is never too old.
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


def text_marker(
    layout: Layout, namespace: str, number: int, text: str, place: Point, size: float, ink: Colour
) -> Marker:
    """Return a marker with a text that faces the viewer."""
    marker = new_marker(layout, namespace, number, Marker.TEXT_VIEW_FACING)
    marker.pose.position = place
    marker.scale.z = size
    # RViz 2 does not scale its spaces with the letters: this is their width.
    marker.scale.x = SPACE * size
    marker.color = rgba(ink)
    # RViz reports an error for an empty text.
    marker.text = plain_letters(text) or " "
    return marker


def rgba(colour: Colour, opacity: float = 1.0) -> ColorRGBA:
    """Return a colour as a message."""
    red, green, blue = (part / 255 for part in colour)
    return ColorRGBA(r=red, g=green, b=blue, a=opacity)


def point(coordinates: Sequence[float] | NDArray[np.float64]) -> Point:
    """Return coordinates as a message."""
    x, y, z = (float(coordinate) for coordinate in coordinates)
    return Point(x=x, y=y, z=z)


def thinned(values: NDArray[Values], count: int) -> NDArray[Values]:
    """Return at most so many of the values, evenly, including the first and the last."""
    count = min(len(values), count)
    return values[np.linspace(0, len(values) - 1, count).round().astype(int)]
