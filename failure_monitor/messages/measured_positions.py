# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot was measured to be when an observation was made.

Of the measurements that had been received when a decision was complete, the one whose header
stamp is nearest to the observation's: a bag gives what the monitor beside the robot had. Messages
are those of rclpy or of a bag reader. Stamps are whole nanoseconds.
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
"""Nanoseconds that a measurement may lie before or behind an observation."""

REMEMBERED = 4096
"""Measurements kept: eight seconds at 500 Hz, longer than a policy takes to decide."""

Message = TypeVar("Message")


class MeasurementError(FailureMonitorError):
    """A position that was not measured when it was needed, or a message that holds none."""


@dataclass(frozen=True)
class PositionsTopic:
    """What measures the positions.

    Attributes:
        name: of the topic.
        message_type: of its messages.
        joints: those whose positions count, in the order of the actions that span positions; none
            where a point or pose is measured.
    """

    name: str
    message_type: PositionType
    joints: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one message says.

    Attributes:
        names: of joints, or of axes.
        positions: float64, one for each name; None where the message has none.
    """

    names: tuple[str, ...]
    positions: NDArray[np.float64] | None


def read_measurement(message: Any) -> Measurement:
    """The positions in a JointState, PoseStamped or PointStamped.

    Raises:
        MeasurementError: a joint state has more or fewer positions than joints.
    """
    if not hasattr(message, "name"):
        point = message.pose.position if hasattr(message, "pose") else message.point
        return Measurement(AXES, np.array([point.x, point.y, point.z]))
    names = tuple(message.name)
    if len(message.position) == 0:  # some publish velocities and efforts apart
        return Measurement(names, None)
    if len(message.position) != len(names):
        raise MeasurementError(
            f"a joint state has {len(names)} joints and {len(message.position)} positions: look at "
            "its publisher"
        )
    return Measurement(names, np.asarray(message.position))


class MeasuredPositions(Generic[Message]):
    """Remembers the measurements of the last moments, and reads the few that are asked for."""

    def __init__(
        self,
        topic: str,
        *,
        stamp_of: Callable[[Message], int],
        read: Callable[[Message], Measurement],
    ) -> None:
        """Nothing has been measured yet.

        Args:
            topic: what errors name.
            stamp_of: a message's stamp, in nanoseconds.
            read: what a message says.
        """
        self._topic = topic
        self._stamp_of = stamp_of
        self._read = read
        self._newest: deque[Message] = deque(maxlen=REMEMBERED)

    def add(self, message: Message) -> None:
        """Take one message."""
        self._newest.append(message)

    def clear(self) -> None:
        """Forget all of them; stamps may begin anew."""
        self._newest.clear()

    def at(self, stamp: int, names: Sequence[str]) -> NDArray[np.float64]:
        """The positions of some joints when the observation of a stamp was made, (P,).

        A point or pose has the positions x, y and z, whatever the actions are called.

        Raises:
            MeasurementError: none was measured near enough, or a joint is missing.
            Exception: any that `stamp_of` and `read` raise.
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
        """Those of the names in a message, to whose joints `joints` is extended; None without."""
        measured = self._read(message)
        if measured.positions is None or measured.names == AXES:
            return measured.positions
        # Several nodes may publish on the topic, each joints of its own.
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
            f"no position on {self._topic} was received with a stamp within {1e-9 * TOLERANCE:g} s "
            f"of the observation's ({1e-9 * stamp:.3f} s): publish it, and record it, from the "
            "begin on, stamped by the same clock"
        )
