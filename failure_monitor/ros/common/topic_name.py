# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The full name of a topic that a parameter names."""

from __future__ import annotations

from rclpy._rclpy_pybind11 import RCLError
from rclpy.node import Node

from failure_monitor.errors import UsageError

COMPRESSED = "/compressed"
"""Ending of topics of sensor_msgs/CompressedImage, as image_transport names them."""


def full_topic_name(node: Node, parameter: str, topic: str) -> str:
    """The name as the node resolves it; empty if it is.

    Raises:
        UsageError: it is no topic; names the parameter.
    """
    if not topic:
        return ""
    try:
        return node.resolve_topic_name(topic)
    except RCLError as error:
        reason = str(error).split(", at /", 1)[0]
        raise UsageError(
            f"{node.get_name()}: the parameter '{parameter}' is '{topic}', no topic ({reason})"
        ) from None
