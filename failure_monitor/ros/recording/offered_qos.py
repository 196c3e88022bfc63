# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The quality of service that publishers offer, as the metadata of a bag state it.

`ros2 bag play` offers the same: with another durability than the publisher's, a late subscriber
would miss what is published once, such as static transforms.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from rclpy.duration import Duration
from rclpy.qos import QoSProfile
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

SECOND = 1_000_000_000
"""Nanoseconds."""

Policy = TypeVar("Policy", QosHistory, QosReliability, QosDurability, QosLiveliness)


def offered_qos(profile: QoSProfile) -> Qos:
    """Return a profile of a publisher as a bag holds it.

    The middleware does not tell the history of another process's publisher; the recorder of ROS
    writes "unknown", too.
    """
    return Qos(
        history=_policy(QosHistory, profile.history),
        depth=profile.depth,
        reliability=_policy(QosReliability, profile.reliability),
        durability=_policy(QosDurability, profile.durability),
        deadline=_time(profile.deadline),
        lifespan=_time(profile.lifespan),
        liveliness=_policy(QosLiveliness, profile.liveliness),
        liveliness_lease_duration=_time(profile.liveliness_lease_duration),
        avoid_ros_namespace_conventions=profile.avoid_ros_namespace_conventions,
    )


def _policy(kind: type[Policy], value: Enum) -> Policy:
    known = kind.__members__
    return known.get(value.name, known["UNKNOWN"])


def _time(duration: Duration) -> QosTime:
    return QosTime(*divmod(duration.nanoseconds, SECOND))
