# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot's joints are, decoded only when somebody asks.

Joint states come hundreds of times a second, and are needed when the gate closes.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState

from failure_monitor.ros.commands.command_type import CommandError
from failure_monitor.ros.commands.stop import JointMotion

REMEMBERED = 1000
"""Messages kept: several sources may share the topic, each with joints of its own."""


class MeasuredJoints:
    """Remembers the joint states of the last moments."""

    def __init__(self, node: Node, topic: str, max_age: float) -> None:
        """Listen on a topic; what is older than `max_age` seconds counts as unknown."""
        self._topic = topic
        self._max_age = max_age
        self._messages: deque[tuple[float, bytes]] = deque(maxlen=REMEMBERED)
        node.create_subscription(
            JointState, topic, self._on_message, qos_profile_sensor_data, raw=True
        )

    def motion(self, names: Sequence[str]) -> JointMotion:
        """The newest motion of these joints.

        Raises:
            CommandError: it is not known.
        """
        self._forget_old()
        positions: dict[str, float] = {}
        velocities: dict[str, float] = {}
        for _, data in reversed(self._messages):
            if positions.keys() >= set(names):
                break
            message = _read(data)
            if message is None:
                continue
            for name, position in zip(message.name, message.position, strict=False):
                positions.setdefault(name, position)
            for name, velocity in zip(message.name, message.velocity, strict=False):
                velocities.setdefault(name, velocity)
        self._check(names, positions)
        moving = tuple(velocities.get(name, math.nan) for name in names)
        return JointMotion(
            positions=tuple(positions[name] for name in names),
            velocities=moving if all(map(math.isfinite, moving)) else None,
        )

    def _check(self, names: Sequence[str], positions: dict[str, float]) -> None:
        if not positions:
            raise CommandError(
                f"no joint states on '{self._topic}' within {self._max_age:g} s that can be read: "
                "where the robot could be held is not known"
            )
        unknown = [
            name for name in names if name not in positions or not math.isfinite(positions[name])
        ]
        if unknown or not names:
            raise CommandError(
                f"'{self._topic}' has no position of "
                f"{', '.join(repr(name) for name in unknown) or 'the joints that it moves'}"
            )

    def _on_message(self, data: bytes) -> None:
        self._messages.append((time.monotonic(), data))
        self._forget_old()

    def _forget_old(self) -> None:
        oldest = time.monotonic() - self._max_age
        while self._messages and self._messages[0][0] < oldest:
            self._messages.popleft()


def _read(data: bytes) -> JointState | None:
    """The message; None if it is none."""
    try:
        return deserialize_message(data, JointState)
    except Exception:
        # The middleware's error has no public name, and there is none that may end the gate.
        return None
