# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The quality of service of the package's topics, named by purpose."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

DECISION_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""For embeddings, action chunks and what is computed from them: nothing is lost."""

DECISION_SUBSCRIPTION_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
"""For who must receive every decision, also when it was held up for a moment."""

DISPLAY_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For who only looks: the newest message is enough, and no publisher waits for one that hangs."""

LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""For states: a late subscriber receives the last one."""

LATCHED_SUBSCRIPTION_QOS = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""For who must receive every change of a state, and its last one before."""

PERMIT_SUBSCRIPTION_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
"""For permits: none is lost to one that comes after it, perhaps from another publisher."""


def heartbeat_qos(period: float, *, latched: bool) -> QoSProfile:
    """Return the QoS of what is published at least every `period` seconds.

    Deadline and liveliness lease are three periods: a subscriber that requests them receives an
    event when the publisher dies or falls silent.
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
