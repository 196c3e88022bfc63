# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The measured positions of the robot at an observation.

Of the measurements received before a decision was complete, the one with the header stamp nearest
to the observation's counts. So a bag gives the positions that the robot's monitor had. Messages
are from rclpy or from a bag reader. Stamps are in whole nanoseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError

PositionType = Literal[
    "sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PointStamped"
]
POSITION_TYPES: tuple[PositionType, ...] = get_args(PositionType)
JOINT_STATE_TYPE: PositionType = POSITION_TYPES[0]

AXES = ("x", "y", "z")

TOLERANCE = 100_000_000
"""Nanoseconds by which the stamps of a measurement and of an observation may differ."""

MAX_MEASUREMENTS = 4096
"""Number of measurements kept: eight seconds at 500 Hz, longer than a policy needs to decide."""

Message = TypeVar("Message")


class MeasurementError(FailureMonitorError):
    """A position that was not measured when it was needed, or an invalid message."""


@dataclass(frozen=True)
class PositionsTopic:
    """The topic of measured positions.

    Attributes:
        name: the topic's name.
        message_type: the type of its messages.
        joints: the joints whose positions are read, in the order of the position actions; empty
            for a point or pose.
    """

    name: str
    message_type: PositionType
    joints: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Measurement:
    """The content of one message.

    Attributes:
        names: the names of joints, or of axes.
        positions: a position for each name, float64; None if the message has none.
    """

    names: tuple[str, ...]
    positions: NDArray[np.float64] | None


def read_measurement(message: Any) -> Measurement:
    """Return the positions in a JointState, PoseStamped or PointStamped.

    Raises:
        MeasurementError: the numbers of joints and positions of a joint state differ.
    """
    if not hasattr(message, "name"):
        point = message.pose.position if hasattr(message, "pose") else message.point
        return Measurement(AXES, np.array([point.x, point.y, point.z]))
    names = tuple(message.name)
    if len(message.position) == 0:  # some drivers publish velocities and efforts separately
        return Measurement(names, None)
    if len(message.position) != len(names):
        raise MeasurementError(
            f"a joint state has {len(names)} joints and {len(message.position)} positions: check "
            "its publisher"
        )
    return Measurement(names, np.asarray(message.position))


class MeasuredPositions(Generic[Message]):
    """The last measurements, which are read only when they are needed."""

    def __init__(
        self,
        topic: str,
        *,
        stamp_of: Callable[[Message], int],
        read: Callable[[Message], Measurement],
    ) -> None:
        """Start without a measurement.

        Args:
            topic: the topic's name, for errors.
            stamp_of: returns a message's stamp, in nanoseconds.
            read: returns a message's content.
        """
        self._topic = topic
        self._stamp_of = stamp_of
        self._read = read
        self._newest: deque[Message] = deque(maxlen=MAX_MEASUREMENTS)

    def add(self, message: Message) -> None:
        """Add one message."""
        self._newest.append(message)

    def clear(self) -> None:
        """Drop all messages, so that stamps may start again."""
        self._newest.clear()

    def at(self, stamp: int, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the positions of joints at the observation of a stamp, (P,).

        A point or pose gives x, y and z, whatever the names.

        Args:
            stamp: the observation's stamp.
            names: the names of the joints.

        Raises:
            MeasurementError: no position was measured near enough, or a joint is missing.
            Exception: whatever `stamp_of` and `read` raise.
        """
        before: tuple[int, NDArray[np.float64]] | None = None
        later: list[tuple[int, Message]] = []
        joints: set[str] = set()
        for message in reversed(self._newest):
            away = self._stamp_of(message) - stamp
            if away > 0:
                later.append((away, message))
            elif before is not None or away < -TOLERANCE:
                break
            elif (values := self._positions(message, names, joints)) is not None:
                before = (-away, values)
        for away, message in reversed(later):
            if away > (TOLERANCE if before is None else before[0]):
                break
            if (values := self._positions(message, names, joints)) is not None:
                return values
        if before is None:
            raise MeasurementError(self._why_unmeasured(stamp, names, joints))
        return before[1]

    def _positions(
        self, message: Message, names: Sequence[str], joints: set[str]
    ) -> NDArray[np.float64] | None:
        """Return the positions of the names in a message; None if it lacks one.

        The message's joints are added to `joints`.
        """
        measured = self._read(message)
        if measured.positions is None or measured.names == AXES:
            return measured.positions
        # Several nodes may publish on the topic, each of them its own joints.
        joints.update(measured.names)
        if not set(names) <= set(measured.names):
            return None
        return np.asarray(measured.positions[[measured.names.index(name) for name in names]])

    def _why_unmeasured(self, stamp: int, names: Sequence[str], joints: set[str]) -> str:
        if joints:
            missing = [name for name in names if name not in joints]
            return (
                f"{self._topic} has no joint {', '.join(missing)}, only "
                f"{', '.join(sorted(joints))}: name the joints that the position actions move"
            )
        return (
            f"no position on {self._topic} was received with a stamp within {1e-9 * TOLERANCE:g} "
            f"s of the observation's ({1e-9 * stamp:.3f} s): publish and record positions from "
            "the start on, stamped by the same clock"
        )
