# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of what is shown in RViz and elsewhere. None can be set while the node runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import NO_NAMES, parameter

NO_AXES = "none"
"""In place of the axes: chunks are not drawn."""


@dataclass(frozen=True)
class MarkerParameters:
    """The markers; the names of their parameters begin with `markers.`."""

    frame: str = parameter(
        "base_link",
        "Frame of ~/markers: that of Cartesian action chunks.",
        heading="What there is to see in RViz and elsewhere; docs/visualization.md describes "
        "each element. It is drawn only while there is a subscriber.",
    )
    rate: float = parameter(
        5.0,
        "Publications of the markers per second. Markers live for three periods.",
        bounds=(0.2, 30.0),
    )
    panel: tuple[float, ...] = parameter(
        (0.0, 0.0, 1.0),
        "Position x, y, z of the panel of scores, in metres. The state and its reason stand above "
        "it.",
    )
    yaw: float = parameter(
        0.0,
        "Direction in which the panel faces, in radians about z; 0 is along x.",
        bounds=(-7.0, 7.0),
    )
    size: float = parameter(
        0.05,
        "Height of a line of text, in metres; everything else is in proportion.",
        bounds=(0.001, 10.0),
    )
    axes: tuple[str, ...] = parameter(
        NO_NAMES,
        "Names of the actions that move the tool along x, y and z. "
        '[""] finds names such as dx, dy and dz; [none] draws no chunks. Chunks of joints are '
        "never drawn.",
    )
    metres: float = parameter(1.0, "Metres that an action of 1 stands for.", bounds=(1e-9, 1e3))
    start: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0),
        "Position x, y, z at which chunks of deltas or velocities begin, in metres, if it is not "
        "measured.",
    )
    apart: float = parameter(
        0.05,
        "Distance from the middle of all samples at which a sample is drawn as disagreeing, in "
        "metres.",
        bounds=(1e-6, 1e3),
    )

    def check(self) -> None:
        """Reject an empty frame, and positions that are not three finite numbers.

        Raises:
            UsageError: names the parameter.
        """
        if not self.frame:
            raise UsageError("the parameter 'markers.frame' is empty: name a frame")
        for name in ("panel", "start"):
            position = getattr(self, name)
            if len(position) != 3 or not all(map(math.isfinite, position)):
                raise UsageError(
                    f"the parameter 'markers.{name}' is {list(position)}, expected x, y and z"
                )


@dataclass(frozen=True)
class OverlayParameters:
    """The overlay; the names of its parameters begin with `overlay.`."""

    image_topic: str = parameter(
        "",
        "Topic of the camera on whose images ~/overlay and ~/overlay/compressed are drawn: of "
        "CompressedImage if its name ends with /compressed, of Image otherwise. Empty for the "
        "first of image_topics.",
        is_topic=True,
        is_optional=True,
    )
    rate: float = parameter(5.0, "Overlays per second; 0 for none at all.", bounds=(0.0, 30.0))
