# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot is measured to be, for scores that ask for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState

from failure_monitor.messages.measured_positions import (
    AXES,
    JOINT_STATE_TYPE,
    MeasuredPositions,
    MeasurementError,
    PositionsTopic,
    PositionType,
    read_measurement,
)
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic


class PositionsInput:
    """Remembers the measurements of the last moments, and gives those of an observation."""

    def __init__(
        self, node: Node, settings: MonitorParameters, asked: PositionsTopic | None
    ) -> None:
        """Listen, if a score asks.

        Args:
            node: subscribes.
            settings: say how long nothing may come.
            asked: what measured the positions in calibration; None if no score asks.
        """
        self.settings = settings
        self._asked = asked
        self._topic: MonitoredTopic | None = None
        self._why_unknown = ""
        if asked is None:
            return
        self._topic = MonitoredTopic(
            node,
            _message_class(asked.message_type),
            asked.name,
            self._on_message,
            qos_profile_sensor_data,
        )
        self._measured: MeasuredPositions[Any] = MeasuredPositions(
            f"'{self._topic.name}'",
            stamp_of=lambda message: stamp_nanoseconds(message.header.stamp),
            read=read_measurement,
        )

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """What is listened to."""
        return () if self._topic is None else (self._topic,)

    def forget(self) -> None:
        """Stamps begin anew."""
        if self._asked is not None:
            self._measured.clear()

    def at(self, stamp: int) -> NDArray[np.float32] | None:
        """The positions when the observation of a stamp was made, (P,); None if no score asks.

        Raises:
            MeasurementError: they are unknown; `problem` says so until they are known again.
        """
        if self._asked is None:
            return None
        try:
            positions = self._measured.at(stamp, self._asked.joints)
            self._check(positions)
        except MeasurementError as error:
            self._why_unknown = str(error)
            raise
        self._why_unknown = ""
        return positions.astype(np.float32)

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """What is amiss with the measurements; empty if nothing is."""
        told = ""
        if self._asked is not None and self._asked.message_type != JOINT_STATE_TYPE:
            told = topic.contradiction()
        if not told and (self._why_unknown or topic.stream.age(now) is None):
            told = topic.silence(now, self.settings.max_decision_age) or self._why_unknown
        return told and f"the measured positions are unknown: {told}"

    def _check(self, positions: NDArray[np.float64]) -> None:
        assert self._asked is not None
        names = self._asked.joints or AXES
        broken = [name for name, at in zip(names, positions, strict=True) if not np.isfinite(at)]
        if broken:
            assert self._topic is not None
            self._topic.stream.refused += 1
            raise MeasurementError(
                f"the position of {', '.join(broken)} on '{self._topic.name}' is NaN or infinite: "
                "look at the robot's driver"
            )

    def _on_message(self, message: Any) -> None:
        assert self._topic is not None
        self._topic.stream.hear(time.monotonic(), stamp_nanoseconds(message.header.stamp))
        self._measured.add(message)


def _message_class(message_type: PositionType) -> type:
    if message_type == JOINT_STATE_TYPE:
        return JointState  # type: ignore[no-any-return]
    # Here, as most monitors need neither.
    from geometry_msgs.msg import PointStamped, PoseStamped

    return {"PoseStamped": PoseStamped, "PointStamped": PointStamped}[message_type.split("/")[-1]]
