# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The measured positions and velocities of the robot's joints.

Joint states come hundreds of times a second and are needed only when the gate closes: they are
kept as they came and decoded on demand.
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

from failure_monitor.monitoring.stop_debt import CommandError
from failure_monitor.ros.commands.stop import JointMotion

MAX_MESSAGES = 1000
"""Largest number of messages kept: several sources, each with its joints, may share the topic."""


class MeasuredJoints:
    """The joint states of the last moments."""

    def __init__(self, node: Node, topic: str, max_age: float) -> None:
        """Subscribe to a topic; messages older than `max_age` seconds are dropped."""
        self._topic = topic
        self._max_age = max_age
        self._messages: deque[tuple[float, bytes]] = deque(maxlen=MAX_MESSAGES)
        node.create_subscription(
            JointState, topic, self._on_message, qos_profile_sensor_data, raw=True
        )

    def motion(self, names: Sequence[str]) -> JointMotion:
        """Return the newest motion of these joints.

        Raises:
            CommandError: a position is unknown.
        """
        self._drop_old()
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
                f"no readable joint states on '{self._topic}' within {self._max_age:g} s: the "
                "position at which to hold the robot is unknown"
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
        self._drop_old()

    def _drop_old(self) -> None:
        oldest = time.monotonic() - self._max_age
        while self._messages and self._messages[0][0] < oldest:
            self._messages.popleft()


def _read(data: bytes) -> JointState | None:
    """Return the message; None if the data cannot be read."""
    try:
        return deserialize_message(data, JointState)
    except Exception:
        # The middleware's error has no public name, and no error may end the gate.
        return None
