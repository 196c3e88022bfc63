# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the messages on a topic for some seconds: rate, age and size."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PointStamped, PoseStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState, PointCloud2
from std_msgs.msg import Float32, Float64, String

from failure_monitor.graph_check.snapshot import Messages
from failure_monitor.messages.point_cloud import (
    EMBEDDING_FIELD,
    TOKEN_FIELD,
    PointCloudError,
    read_action_chunks,
    read_embedding,
    read_tokens,
)
from failure_monitor.policy_description import PolicyDescription, PolicyDescriptionError
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.common.stream import Stream

if TYPE_CHECKING:  # Lyrical has it in another module.
    from rclpy.topic_endpoint_info import TopicEndpointInfo

DEPTH = 10
MIN_GAPS = 3
"""Number of times between stamps from which a period is measured."""

Size = tuple[tuple[int, ...], tuple[str, ...]]
"""Shape and names, as in `Messages`."""


class UnusableMessageError(Exception):
    """A message that the monitor could not use, and why."""


@dataclass(frozen=True)
class ProbedType:
    """How messages of a type are received and read.

    Attributes:
        message: the class.
        read: returns the size of a message, or raises `UnusableMessageError`.
        reliable: whether to subscribe reliably where publishers offer it. Large or frequent
            messages are not, so as not to slow their publisher down.
        latched: whether what was published before is asked for.
    """

    message: type
    read: Callable[[Any], Size]
    reliable: bool
    latched: bool = False


def _read_cloud(message: PointCloud2) -> Size:
    fields = [field.name for field in message.fields]
    names: tuple[str, ...] = ()
    try:
        if fields == [EMBEDDING_FIELD]:
            values = read_embedding(message)
        elif fields == [TOKEN_FIELD]:
            values = read_tokens(message)
        else:
            names, values = read_action_chunks(message)
    except PointCloudError as error:
        raise UnusableMessageError(str(error)) from None
    unusable = np.count_nonzero(~np.isfinite(values))
    if unusable:
        raise UnusableMessageError(
            f"{unusable} of {values.size} values are NaN or infinite: check the policy"
        )
    return values.shape, names


def _read_joints(message: JointState) -> Size:
    if not all(map(math.isfinite, message.position)):
        raise UnusableMessageError("a position is NaN or infinite: check the robot's driver")
    return (len(message.position),), tuple(message.name)


def _read_number(message: Float64 | Float32) -> Size:
    if not math.isfinite(message.data):
        raise UnusableMessageError(f"the value is {message.data}: check its publisher")
    return (), ()


def _read_description(message: String) -> Size:
    try:
        PolicyDescription.from_json(message.data)
    except PolicyDescriptionError as error:
        raise UnusableMessageError(str(error)) from None
    return (), ()


PROBED_TYPES: Mapping[str, ProbedType] = {
    "sensor_msgs/msg/PointCloud2": ProbedType(PointCloud2, _read_cloud, reliable=True),
    "sensor_msgs/msg/JointState": ProbedType(JointState, _read_joints, reliable=False),
    "sensor_msgs/msg/Image": ProbedType(
        Image, lambda image: ((image.height, image.width), (image.encoding,)), reliable=False
    ),
    "sensor_msgs/msg/CompressedImage": ProbedType(
        CompressedImage, lambda image: ((), (image.format,)), reliable=False
    ),
    "geometry_msgs/msg/PoseStamped": ProbedType(
        PoseStamped, lambda pose: ((), ()), reliable=False
    ),
    "geometry_msgs/msg/PointStamped": ProbedType(
        PointStamped, lambda point: ((), ()), reliable=False
    ),
    "std_msgs/msg/Float64": ProbedType(Float64, _read_number, reliable=True),
    "std_msgs/msg/Float32": ProbedType(Float32, _read_number, reliable=True),
    "std_msgs/msg/String": ProbedType(String, _read_description, reliable=True, latched=True),
}
"""The message types that can be measured, by their ROS 2 name."""


class TopicProbe:
    """A subscription that counts and measures messages."""

    def __init__(self, node: Node, topic: str, publishers: Sequence[TopicEndpointInfo]) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            topic: the full name of the topic.
            publishers: at least one, with a type of `PROBED_TYPES`; the first one's type counts.
        """
        probed = PROBED_TYPES[publishers[0].topic_type]
        offered = all(
            info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in publishers
        )
        is_reliable = probed.reliable and offered
        self._read = probed.read
        self._clock = node.get_clock()
        self._stream = Stream(topic)
        self._lags: list[float] = []
        self._stamps: list[int] = []
        self._shape: tuple[int, ...] = ()
        self._names: tuple[str, ...] = ()
        self._text = ""
        self._fault = ""
        qos = QoSProfile(
            depth=DEPTH,
            reliability=(
                ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT
            ),
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if probed.latched else DurabilityPolicy.VOLATILE
            ),
        )
        node.create_subscription(probed.message, topic, self._on_message, qos)

    def messages(self, now: float) -> Messages:
        """Return what was received and measured.

        Args:
            now: seconds of the monotonic clock.
        """
        gaps = np.diff(np.unique(self._stamps))
        return Messages(
            received=self._stream.received,
            rate=self._stream.received_rate(now),
            period=1e-9 * float(np.median(gaps)) if len(gaps) >= MIN_GAPS else None,
            lost=self._stream.lost_share(),
            lag=median(self._lags) if self._lags else None,
            shape=self._shape,
            names=self._names,
            text=self._text,
            fault=self._fault,
        )

    def _on_message(self, message: Any) -> None:
        header = getattr(message, "header", None)
        stamp = 0 if header is None else stamp_nanoseconds(header.stamp)
        self._stream.add(time.monotonic(), stamp)
        clock = self._clock.now().nanoseconds
        if stamp and clock:
            self._stamps.append(stamp)
            self._lags.append(1e-9 * (clock - stamp))
        if isinstance(message, String):
            # Latched: only the last one counts.
            self._text, self._fault = message.data, ""
        try:
            self._shape, self._names = self._read(message)
        except UnusableMessageError as error:
            self._fault = str(error)
