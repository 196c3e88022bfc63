# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The measured positions and velocities of the robot's joints.

What cannot be trusted is no measurement: what is old, frozen, or stated by two publishers.
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

from failure_monitor.messages.joint_sources import JointSources
from failure_monitor.monitoring.stop_debt import CommandError
from failure_monitor.monitoring.waiting_time import WaitingTime
from failure_monitor.ros.commands.stop import JointMotion
from failure_monitor.ros.common.message_info import (
    MessageInfo,
    publisher_count,
    sequence_number,
    source_stamp,
    with_info,
)

MAX_MESSAGES = 1000
"""Largest number of messages kept: several sources, each with its joints, may share the topic."""


class MeasuredJoints:
    """The joint states of the last moments."""

    def __init__(self, node: Node, topic: str, max_age: float) -> None:
        """Subscribe to a topic; messages older than `max_age` seconds are dropped."""
        self._node = node
        self._topic = topic
        self._max_age = max_age
        self._messages: deque[tuple[float, JointState]] = deque(maxlen=MAX_MESSAGES)
        self._waiting_time = WaitingTime()
        self._sources = JointSources()
        self._subscription = node.create_subscription(
            JointState, topic, with_info(self._on_message), qos_profile_sensor_data, raw=True
        )

    def motion(self, names: Sequence[str]) -> JointMotion:
        """Return the newest motion of these joints.

        Raises:
            CommandError: a position is unknown, or cannot be trusted.
        """
        self._drop_old()
        self._check_sources(names)
        positions: dict[str, float] = {}
        velocities: dict[str, float] = {}
        for _, message in reversed(self._messages):
            if positions.keys() >= set(names):
                break
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

    def _check_sources(self, names: Sequence[str]) -> None:
        now = time.monotonic()
        if contradicted := _common(names, self._sources.contradicted(now)):
            raise CommandError(
                f"several publishers on '{self._topic}' state the position of {contradicted}: "
                "stop all but one"
            )
        if frozen := _common(names, self._sources.frozen(now, self._max_age)):
            raise CommandError(
                f"the joint states of {frozen} on '{self._topic}' come with the same stamp again "
                "and again: the robot's driver is frozen"
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

    def _on_message(self, data: bytes, info: MessageInfo) -> None:
        now = time.monotonic()
        message = _read(data)
        if message is None:
            return
        stamp = message.header.stamp.sec, message.header.stamp.nanosec
        is_single = publisher_count(self._node, self._subscription) == 1
        names = message.name[: len(message.position)]
        self._sources.update(names, sequence_number(info), stamp, now, is_single=is_single)
        # What was published before a freeze of this process is no measurement of now.
        waited = self._waiting_time.update(source_stamp(info), now)
        if waited < self._max_age:
            self._messages.append((now - waited, message))
        self._drop_old()

    def _drop_old(self) -> None:
        oldest = time.monotonic() - self._max_age
        while self._messages and self._messages[0][0] < oldest:
            self._messages.popleft()


def _common(names: Sequence[str], others: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names if name in others)


def _read(data: bytes) -> JointState | None:
    """Return the message; None if the data cannot be read."""
    try:
        return deserialize_message(data, JointState)
    except Exception:
        # The middleware's error has no public name, and no error may end the gate.
        return None
