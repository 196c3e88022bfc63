# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The newest action chunks, with what was published about them.

They are read only when they are drawn: of ten decisions a second a display shows five.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Int32

from failure_monitor.display.view import SampledChunks
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.measured_positions import (
    JOINT_STATE_TYPE,
    MeasuredPositions,
    MeasurementError,
    PositionsTopic,
    PositionType,
    read_measurement,
)
from failure_monitor.messages.point_cloud import read_action_chunks
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.common.qos import DISPLAY_QOS


class ChunksInput:
    """Remembers the newest chunks, the chosen one of them, and how far it is trusted."""

    def __init__(self, node: Node, monitor: str, topic: str) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            monitor: the monitor's name, which publishes the chunks that it samples itself.
            topic: of the policy's chunks.
        """
        self._node = node
        self._newest: bytes | None = None
        self._newest_chosen: bytes | None = None
        self._trusted: int | None = None
        self._sampled: SampledChunks | None = None
        self.problem = ""
        """Why the newest chunks cannot be read; empty if they can."""
        self._positions: _PositionsInput | None = None
        for name in (topic, f"{monitor}/action_chunks"):
            node.create_subscription(PointCloud2, name, self._on_chunks, DISPLAY_QOS, raw=True)
        node.create_subscription(
            PointCloud2, f"{monitor}/chosen_chunk", self._on_chosen, DISPLAY_QOS, raw=True
        )
        node.create_subscription(
            Int32, f"{monitor}/trusted_horizon", self._on_trusted_horizon, DISPLAY_QOS
        )

    def set_positions_topic(self, topic: PositionsTopic | None) -> None:
        """Have chunks start where the robot is measured; None where nothing measures it."""
        if self._positions is not None:
            self._positions.destroy()
        self._positions = None if topic is None else _PositionsInput(self._node, topic)

    def forget(self) -> None:
        """Forget the chunks, as another rollout starts."""
        self._newest = self._newest_chosen = self._trusted = self._sampled = None
        self.problem = ""

    def sampled(self) -> SampledChunks | None:
        """Return the newest chunks whose choice is known; None if there are none."""
        if self._newest is not None:
            try:
                self._read(self._newest)
                self.problem = ""
            except FailureMonitorError as error:
                self.problem = str(error)
            except Exception:
                # rclpy raises whatever the middleware's plug-in does.
                self.problem = "a message with action chunks cannot be read"
        return self._sampled

    def _read(self, data: bytes) -> None:
        message = deserialize_message(data, PointCloud2)
        names, chunks = read_action_chunks(message)
        chosen = self._chosen(message, chunks)
        if chosen is None:
            # It is on its way.
            return
        positions = None
        if self._positions is not None:
            positions = self._positions.at(stamp_nanoseconds(message.header.stamp))
        self._newest = None
        self._sampled = SampledChunks(names, chunks, positions, chosen, self._trusted)

    def _chosen(self, message: PointCloud2, chunks: NDArray[np.float32]) -> int | None:
        """Return the number of the chosen sample, the first where none is published."""
        if self._newest_chosen is None:
            return 0
        chosen = deserialize_message(self._newest_chosen, PointCloud2)
        if chosen.header.stamp != message.header.stamp:
            return None
        _, chunk = read_action_chunks(chosen)
        return int(np.argmin(np.abs(chunks - chunk).sum(axis=(1, 2))))

    def _on_chunks(self, data: bytes) -> None:
        self._newest = data

    def _on_chosen(self, data: bytes) -> None:
        self._newest_chosen = data

    def _on_trusted_horizon(self, horizon: Int32) -> None:
        self._trusted = horizon.data


class _PositionsInput:
    """Recent measured positions."""

    def __init__(self, node: Node, source: PositionsTopic) -> None:
        self._node = node
        self._source = source
        self._measured: MeasuredPositions[Any] = MeasuredPositions(
            f"'{source.name}'",
            stamp_of=lambda message: stamp_nanoseconds(message.header.stamp),
            read=read_measurement,
        )
        self._subscription: Subscription = node.create_subscription(
            _message_class(source.message_type),
            source.name,
            self._measured.add,
            qos_profile_sensor_data,
        )

    def at(self, stamp: int) -> NDArray[np.float32] | None:
        """Return the positions at a stamp; None if they are unknown."""
        try:
            return self._measured.at(stamp, self._source.joints).astype(np.float32)
        except MeasurementError:
            return None

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)


def _message_class(message_type: PositionType) -> type:
    if message_type == JOINT_STATE_TYPE:
        return JointState  # type: ignore[no-any-return]
    # Imported here, as most displays need neither.
    from geometry_msgs.msg import PointStamped, PoseStamped

    return {"PoseStamped": PoseStamped, "PointStamped": PointStamped}[message_type.split("/")[-1]]
