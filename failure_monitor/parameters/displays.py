# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the displays node. None can be set while the node runs.

Those that the monitor has, too, mean the same, so that one file serves both nodes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import NO_NAMES, parameter
from failure_monitor.parameters.topics import ACTION_CHUNKS_TOPIC, JOINT_STATES_TOPIC

NO_AXES = "none"
"""In place of the axes: chunks are not drawn."""


MARKERS, OVERLAY = "markers.", "overlay."
"""What the names of the parameters of markers and overlay begin with."""


@dataclass(frozen=True)
class DisplaysParameters:
    """What the displays node receives."""

    monitor: str = parameter(
        "failure_monitor",
        "Name of the monitor's node: its alarm is shown, and markers and overlay are published "
        "below this name.",
        is_topic=True,
    )
    max_silence: float = parameter(
        0.6,
        "Seconds without a message on the monitor's alarm after which nothing is known any more; "
        "longer than its heartbeat_period.",
        bounds=(0.1, 5.0),
    )
    bundle: str = parameter(
        "",
        "Folder that `failure-monitor calibrate` wrote, as the monitor's. Without one neither "
        "chunks nor unfamiliar places are shown. monitor.launch.xml sets it.",
    )
    action_chunks_topic: str = parameter(
        ACTION_CHUNKS_TOPIC, "Topic of the policy's sampled action chunks.", is_topic=True
    )
    joint_states_topic: str = parameter(
        JOINT_STATES_TOPIC,
        "Topic of the robot's joint states, for an encoder that takes them.",
        is_topic=True,
    )
    image_topics: tuple[str, ...] = parameter(
        NO_NAMES,
        'Topics of the encoder\'s cameras, in its order. [""] for those of the recordings that '
        "the bundle was calibrated on, or else for the names of the cameras.",
        is_topic=True,
        is_optional=True,
    )
    encoder: str = parameter(
        "",
        "Observation encoder as an ONNX file, for overlay.heat_map; empty for that of the bundle.",
    )
    hardware_id: str = parameter("", "Name of the robot or policy in /diagnostics.")


@dataclass(frozen=True)
class MarkerParameters:
    """The markers; the names of their parameters begin with `markers.`."""

    frame: str = parameter(
        "base_link",
        "Frame of the markers: that of Cartesian action chunks.",
        heading="What there is to see in RViz and elsewhere; docs/visualization.md describes "
        "each element. It is drawn only while there is a subscriber.",
    )
    rate: float = parameter(
        5.0,
        "Publications of the markers per second. Markers live for three periods.",
        bounds=(0.2, 30.0),
    )
    panel: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.55),
        "Position x, y, z of the panel of scores, in metres: the middle of its lower edge. The "
        "state and its reason stand above it. The default is above a table-top arm; for a mobile "
        "base see docs/visualization.md.",
    )
    yaw: float = parameter(
        0.0,
        "Direction in which the panel faces, in radians about z; 0 is along x.",
        bounds=(-7.0, 7.0),
    )
    size: float = parameter(
        0.04,
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
        "Topic of the camera on whose images the overlay is drawn: of CompressedImage if its name "
        "ends with /compressed, of Image otherwise. Empty for the encoder's first camera.",
        is_topic=True,
        is_optional=True,
    )
    rate: float = parameter(5.0, "Overlays per second; 0 for none at all.", bounds=(0.0, 30.0))
    heat_map: bool = parameter(
        False,
        "Whether to show where the picture is unfamiliar, for a bundle with an observation "
        "encoder. The node then loads the encoder and runs it for a quarter of the time.",
    )

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by name."""
        return {} if self.rate else dict.fromkeys(("image_topic", "heat_map"), "'rate' is 0")
