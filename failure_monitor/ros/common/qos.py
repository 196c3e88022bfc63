# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The quality of service of every topic of the package, named by what it is for."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

DECISION_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Embeddings, action chunks and what is computed from them: nothing is lost."""

LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""States: a late joiner gets the last one."""

PERMIT_SUBSCRIPTION_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Only the newest permit counts; how old it is, the gate's own steady clock tells."""


def heartbeat_qos(period: float, *, latched: bool) -> QoSProfile:
    """What is published every `period` seconds at least, so that its absence can be seen.

    The middleware's deadline and liveliness lease are three periods: a subscriber that asks for
    them is told when the publisher dies or falls silent.
    """
    silence = Duration(seconds=3 * period)
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        deadline=silence,
        liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
        liveliness_lease_duration=silence,
    )
