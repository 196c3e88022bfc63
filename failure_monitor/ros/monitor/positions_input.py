# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Measured positions of the robot, for scores that need them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState

from failure_monitor.messages.joint_sources import JointSources
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
from failure_monitor.ros.common.message_info import MessageInfo, sequence_number, with_info
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic


class PositionsInput:
    """Remembers recent measurements, and returns the positions at the time of an observation."""

    def __init__(self, node: Node, settings: MonitorParameters, source: PositionsTopic) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: bound the age of the measurements.
            source: what measured the positions in calibration.
        """
        self.settings = settings
        self._source = source
        self._why_unknown = ""
        self._topic = MonitoredTopic(
            node,
            _message_class(source.message_type),
            source.name,
            with_info(self._on_message),
            qos_profile_sensor_data,
        )
        self._sources = JointSources()
        self._measured: MeasuredPositions[Any] = MeasuredPositions(
            f"'{self._topic.name}'",
            stamp_of=lambda message: stamp_nanoseconds(message.header.stamp),
            read=read_measurement,
        )

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""
        return (self._topic,)

    def forget(self) -> None:
        """Forget all measurements, because stamps start again."""
        self._measured.clear()

    def at(self, stamp: int) -> NDArray[np.float32]:
        """Return the positions (P,) at the stamp of an observation.

        Raises:
            MeasurementError: they are unknown; `problem` says so until they are known again.
        """
        try:
            positions = self._measured.at(stamp, self._source.joints)
            self._check(positions)
        except MeasurementError as error:
            self._why_unknown = str(error)
            raise
        self._why_unknown = ""
        return positions.astype(np.float32)

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with the measurements; empty if nothing is."""
        if self._source.message_type == JOINT_STATE_TYPE:
            problem = self._contradiction(now)
        else:
            problem = topic.contradiction()
        if not problem and (self._why_unknown or topic.stream.age(now) is None):
            problem = topic.silence(now, self.settings.max_decision_age) or self._why_unknown
        return problem and f"the measured positions are unknown: {problem}"

    def _contradiction(self, now: float) -> str:
        several = set(self._source.joints).intersection(self._sources.contradicted(now))
        if not several:
            return ""
        return (
            f"several publishers on '{self._topic.name}' state the position of "
            f"{', '.join(sorted(several))}: stop all but one"
        )

    def _check(self, positions: NDArray[np.float64]) -> None:
        names = self._source.joints or AXES
        broken = [name for name, at in zip(names, positions, strict=True) if not np.isfinite(at)]
        if broken:
            self._topic.stream.rejected += 1
            raise MeasurementError(
                f"the position of {', '.join(broken)} on '{self._topic.name}' is NaN or infinite: "
                "check the robot's driver"
            )

    def _on_message(self, message: Any, info: MessageInfo) -> None:
        now, stamp = time.monotonic(), message.header.stamp
        self._topic.stream.add(now, stamp_nanoseconds(stamp))
        if self._source.message_type == JOINT_STATE_TYPE:
            names = message.name[: len(message.position)]
            self._sources.update(names, sequence_number(info), (stamp.sec, stamp.nanosec), now)
        self._measured.add(message)


def _message_class(message_type: PositionType) -> type:
    if message_type == JOINT_STATE_TYPE:
        return JointState  # type: ignore[no-any-return]
    # Imported here, as most monitors need neither.
    from geometry_msgs.msg import PointStamped, PoseStamped

    return {"PoseStamped": PoseStamped, "PointStamped": PointStamped}[message_type.split("/")[-1]]
