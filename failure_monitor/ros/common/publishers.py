# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The publishers of a topic: why no message comes, or why messages cannot be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

if TYPE_CHECKING:  # Lyrical has it in another module.
    from rclpy.topic_endpoint_info import TopicEndpointInfo

UNKNOWN = "_NODE_NAME_UNKNOWN_"
"""The middleware's name for a node of which it knows only an endpoint so far."""


def contradiction(node: Node, topic: str) -> str:
    """Return that messages of a topic may contradict each other; empty with one publisher."""
    if node.count_publishers(topic) < 2:
        return ""
    names = sorted(_name(publisher) for publisher in node.get_publishers_info_by_topic(topic))
    return (
        f"{len(names)} publishers on '{topic}' ({', '.join(names)}): stop all but one, or wait "
        "until one that died is forgotten"
    )


def why_unreadable(node: Node, topic: str, message_type: str, *, is_reliable: bool) -> str:
    """Return that what a node publishes on a topic cannot be received; empty if all of it can."""
    for publisher in node.get_publishers_info_by_topic(topic):
        if publisher.topic_type != message_type:
            return (
                f"{_name(publisher)} publishes {publisher.topic_type} on '{topic}', expected "
                f"{message_type}"
            )
        reliability = publisher.qos_profile.reliability
        if is_reliable and reliability == ReliabilityPolicy.BEST_EFFORT:
            return f"{_name(publisher)} publishes '{topic}' best effort: let it publish reliably"
    return ""


def why_silent(node: Node, topic: str, message_type: str, qos: QoSProfile) -> str:
    """Return why no message may have come on a topic with this type and QoS."""
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return "no node publishes there"
    other = {p.topic_type for p in publishers if p.topic_type != message_type}
    if other:
        return f"{_names(publishers)} publishes {', '.join(other)} there, expected {message_type}"
    is_reliable = qos.reliability == ReliabilityPolicy.RELIABLE
    if is_reliable and all(
        p.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for p in publishers
    ):
        return f"{_names(publishers)} publishes there best effort: let it publish reliably"
    is_latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    if is_latched and all(
        p.qos_profile.durability == DurabilityPolicy.VOLATILE for p in publishers
    ):
        return (
            f"{_names(publishers)} publishes there volatile: let it publish latched (reliable, "
            "transient local)"
        )
    return f"{_names(publishers)} publishes there, and is silent or cannot be reached"


def _names(publishers: Sequence[TopicEndpointInfo]) -> str:
    return ", ".join(sorted({_name(publisher) for publisher in publishers}))


def _name(publisher: TopicEndpointInfo) -> str:
    if publisher.node_name == UNKNOWN:
        return "a node that is not yet known"
    return f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
