# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes from a Python policy node, in one line, what the monitor needs of its decisions.

tap = DecisionTap(self, action_names=["dx", "dy", "dz", "gripper"])
...
tap.publish(embedding, chunks, image.header.stamp)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from failure_monitor.parameters.topics import ACTION_CHUNKS_TOPIC, EMBEDDING_TOPIC
from failure_monitor.ros.common.messages import action_chunks_message, embedding_message
from failure_monitor.ros.common.qos import DECISION_QOS

__all__ = ["ACTION_CHUNKS_TOPIC", "EMBEDDING_TOPIC", "DecisionTap"]


class DecisionTap:
    """Publishes a policy's observation embedding and sampled action chunks from its own node."""

    def __init__(self, node: Node, *, action_names: Sequence[str], frame_id: str = "") -> None:
        """Create the publishers `policy/embedding` and `policy/action_chunks` on the node.

        Args:
            node: the policy's node.
            action_names: the names of the D action dimensions, in order.
            frame_id: the frame of Cartesian actions; empty for others.
        """
        self._action_names = tuple(action_names)
        self._frame_id = frame_id
        self._embedding_publisher = node.create_publisher(
            PointCloud2, EMBEDDING_TOPIC, DECISION_QOS
        )
        self._chunks_publisher = node.create_publisher(
            PointCloud2, ACTION_CHUNKS_TOPIC, DECISION_QOS
        )

    def publish(
        self, embedding: NDArray[np.float32], chunks: NDArray[np.float32], stamp: Time
    ) -> None:
        """Publish one decision.

        Args:
            embedding: the input of the policy's action head, (E,).
            chunks: the sampled action chunks, (B, H, D); the first one is executed.
            stamp: the stamp of the observation, which is that of the camera image.

        Raises:
            ValueError: a shape is not as above.
        """
        if embedding.ndim != 1:
            raise ValueError(f"an embedding has shape (E,), got {embedding.shape}")
        if chunks.ndim != 3 or chunks.shape[2] != len(self._action_names):
            raise ValueError(
                f"action chunks have shape (B, H, {len(self._action_names)}) for the actions "
                f"{list(self._action_names)}, got {chunks.shape}"
            )
        header = Header(stamp=stamp, frame_id=self._frame_id)
        self._embedding_publisher.publish(embedding_message(embedding, header))
        self._chunks_publisher.publish(action_chunks_message(chunks, self._action_names, header))
