# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishers and subscribers of topics, and which of them cannot reach each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSCompatibility, ReliabilityPolicy, qos_check_compatible

from failure_monitor.graph_check.snapshot import Endpoint, Mismatch, TopicSnapshot

if TYPE_CHECKING:  # Lyrical has it in another module.
    from rclpy.topic_endpoint_info import TopicEndpointInfo


def topic_snapshot(node: Node, name: str) -> TopicSnapshot:
    """Return the endpoints of a topic, without those of `node` itself and without messages."""
    publishers = _others(node, node.get_publishers_info_by_topic(name))
    subscribers = _others(node, node.get_subscriptions_info_by_topic(name))
    return TopicSnapshot(
        publishers=tuple(map(_endpoint, publishers)),
        subscribers=tuple(map(_endpoint, subscribers)),
        mismatches=tuple(dict.fromkeys(_mismatches(publishers, subscribers))),
    )


def subscribed_by(node: Node, other: str) -> dict[str, str]:
    """Return the types of what a node subscribes to, by full topic name; empty if it is gone."""
    namespace, _, name = other.rpartition("/")
    try:
        found = node.get_subscriber_names_and_types_by_node(name, namespace or "/")
    except NodeNameNonExistentError:
        return {}
    return {topic: types[0] for topic, types in found}


def published_by(node: Node, other: str) -> dict[str, str]:
    """Return the types of what a node publishes, by full topic name; empty if it is gone."""
    namespace, _, name = other.rpartition("/")
    try:
        found = node.get_publisher_names_and_types_by_node(name, namespace or "/")
    except NodeNameNonExistentError:
        return {}
    return {topic: types[0] for topic, types in found}


def _others(node: Node, endpoints: Sequence[TopicEndpointInfo]) -> list[TopicEndpointInfo]:
    own = (node.get_namespace(), node.get_name())
    return [
        endpoint for endpoint in endpoints if (endpoint.node_namespace, endpoint.node_name) != own
    ]


def _endpoint(endpoint: TopicEndpointInfo) -> Endpoint:
    return Endpoint(
        node=_name(endpoint),
        message_type=endpoint.topic_type,
        reliable=endpoint.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
    )


def _mismatches(
    publishers: Sequence[TopicEndpointInfo], subscribers: Sequence[TopicEndpointInfo]
) -> Iterator[Mismatch]:
    for publisher in publishers:
        for subscriber in subscribers:
            compatibility, reason = qos_check_compatible(
                publisher.qos_profile, subscriber.qos_profile
            )
            if compatibility == QoSCompatibility.ERROR:
                yield Mismatch(
                    publisher=_name(publisher),
                    subscriber=_name(subscriber),
                    reason=_plain_reason(reason),
                )


def _plain_reason(reason: str) -> str:
    """Return the middleware's reason without its prefix and capitals."""
    parts = [part.strip().removeprefix("ERROR: ") for part in reason.split(";") if part.strip()]
    return ", ".join(part[:1].lower() + part[1:] for part in parts)


def _name(endpoint: TopicEndpointInfo) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
