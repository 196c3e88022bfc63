# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot was measured to be when an observation was made.

Of the measurements that had been received when a decision was complete, the one whose header
stamp is nearest to the observation's: what a monitor beside the robot can take as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.sources.source import SourceError
from failure_monitor.sources.wire import StampedFloats, Wire

JOINT_STATE_TYPE = "sensor_msgs/msg/JointState"
POSE_TYPE = "geometry_msgs/msg/PoseStamped"
POINT_TYPE = "geometry_msgs/msg/PointStamped"
POSITION_TYPES = (JOINT_STATE_TYPE, POSE_TYPE, POINT_TYPE)

AXES = ("x", "y", "z")

TOLERANCE = 100_000_000
"""Nanoseconds that a measurement may lie before or behind an observation."""

REMEMBERED = 4096
"""Measurements kept: eight seconds at 500 Hz, longer than a policy takes to decide."""


class MeasuredPositions:
    """Remembers the measurements of the last moments, and decodes the few that are asked for."""

    def __init__(self, wire: Wire, topic: str, message_type: str) -> None:
        """Nothing has been measured yet.

        Args:
            wire: how the messages are serialised.
            topic: what errors name.
            message_type: one of `POSITION_TYPES`.
        """
        pick = _pick_joints if message_type == JOINT_STATE_TYPE else _pick_axes
        self._floats = StampedFloats(wire, message_type, pick)
        self._wire = wire
        self._topic = topic
        self._type = message_type
        self._newest: deque[bytes] = deque(maxlen=REMEMBERED)

    def take(self, received: int, serialised: bytes) -> None:
        """Take one message."""
        self._newest.append(serialised)

    def at(self, stamp: int, names: Sequence[str]) -> NDArray[np.float64]:
        """The positions of some joints when the observation of a stamp was made, (P,).

        A point or pose has the positions x, y and z, whatever the actions are called.

        Raises:
            SourceError: none was measured near enough, or a joint is missing.
            WireError: a measurement's bytes are none of the type.
        """
        before: tuple[int, NDArray[np.float64]] | None = None
        later: list[tuple[int, bytes]] = []
        joints: set[str] = set()
        for serialised in reversed(self._newest):
            away = self._wire.stamp_of(serialised, self._type) - stamp
            if away > 0:
                later.append((away, serialised))
            elif before is not None or away < -TOLERANCE:
                break
            elif (values := self._positions(serialised, names, joints)) is not None:
                before = (-away, values)
        for away, serialised in reversed(later):
            if away > (TOLERANCE if before is None else before[0]):
                break
            if (values := self._positions(serialised, names, joints)) is not None:
                return values
        if before is None:
            raise SourceError(self._why_unmeasured(stamp, names, joints))
        return before[1]

    def _positions(
        self, serialised: bytes, names: Sequence[str], joints: set[str]
    ) -> NDArray[np.float64] | None:
        """Those of the names in a message, to whose joints `joints` is extended; None without."""
        _, values, its_names = self._floats.read(serialised)
        if values is None or its_names == AXES:
            return np.asarray(values) if values is not None else None
        # Several nodes may publish on the topic, each joints of its own.
        joints.update(its_names)
        if not set(names) <= set(its_names):
            return None
        return np.asarray(values[[its_names.index(name) for name in names]])

    def _why_unmeasured(self, stamp: int, names: Sequence[str], joints: set[str]) -> str:
        if joints:
            missing = [name for name in names if name not in joints]
            return (
                f"{self._topic} has no joint {', '.join(missing)}, only "
                f"{', '.join(sorted(joints))}: name the joints that the position actions move"
            )
        return (
            f"no position on {self._topic} was received with a stamp within {1e-9 * TOLERANCE:g} s "
            f"of the observation's ({1e-9 * stamp:.3f} s): record it from the begin on, stamped by "
            "the same clock, or do not ask for positions"
        )


def _pick_joints(message: Any) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    names = tuple(message.name)
    positions = message.position
    if len(positions) == 0:  # some publish velocities and efforts apart
        return None, names
    if len(positions) != len(names):
        raise SourceError(
            f"a joint state has {len(names)} joints and {len(positions)} positions: look at its "
            "publisher"
        )
    return positions, names


def _pick_axes(message: Any) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    point = message.pose.position if hasattr(message, "pose") else message.point
    return np.array([point.x, point.y, point.z]), AXES
