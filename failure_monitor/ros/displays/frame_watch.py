# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a frame is known to TF: RViz shows nothing in an unknown frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

MAX_WAIT = 3.0
"""Seconds after which an unknown frame is a problem."""

TF_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
TF_STATIC_QOS = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class FrameWatch:
    """Subscribes to transforms until the frame is among them."""

    def __init__(self, node: Node, frame: str) -> None:
        """Start without a subscription.

        Args:
            node: the node that subscribes.
            frame: the name to wait for.
        """
        self._node = node
        self._frame = frame
        self._known: set[str] = set()
        self._subscriptions: list[Subscription] = []
        self._since: float | None = None

    def start(self, now: float | None = None) -> None:
        """Subscribe, unless the frame was found or transforms are not installed."""
        if self._since is not None:
            return
        self._since = time.monotonic() if now is None else now
        message = _transform_message()
        if message is None:
            self._known.add(self._frame)
            return
        for topic, qos in (("/tf", TF_QOS), ("/tf_static", TF_STATIC_QOS)):
            callback: Callable[[Any], None] = self.add_transforms
            self._subscriptions.append(
                self._node.create_subscription(message, topic, callback, qos)
            )

    def add_transforms(self, message: Any) -> None:
        """Receive a tf2_msgs/TFMessage."""
        for transform in message.transforms:
            for name in (transform.header.frame_id, transform.child_frame_id):
                self._known.add(name.lstrip("/"))
        if self._frame in self._known:
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions.clear()

    def problem(self, now: float | None = None) -> str:
        """Return why markers may be invisible; empty if nothing is wrong or if it is too early."""
        now = time.monotonic() if now is None else now
        if self._since is None or self._frame in self._known or now - self._since < MAX_WAIT:
            return ""
        known = ", ".join(sorted(self._known)) or "none at all"
        return (
            f"no transform contains the frame '{self._frame}' of the markers, only "
            f"{known}: set 'markers.frame' to one of these, or RViz's fixed frame to it"
        )


def _transform_message() -> Any:
    """Return the message class of /tf; None where ROS is installed without transforms."""
    try:
        return import_module("tf2_msgs.msg").TFMessage
    except ImportError:
        return None
