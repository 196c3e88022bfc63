# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Actions of a graph, with their servers and those that send or cancel goals.

They are found by the names and types of their services and topics, so that the packages of their
messages need not be installed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from rclpy.node import Node, NodeNameNonExistentError

from failure_monitor.graph_check.snapshot import ActionSnapshot

SEND, CANCEL = "/_action/send_goal", "/_action/cancel_goal"
STATUS, FEEDBACK = "/_action/status", "/_action/feedback"

NamesAndTypes = list[tuple[str, list[str]]]


def actions_of(node: Node) -> dict[str, ActionSnapshot]:
    """Return every action that a node of the graph serves, by full name."""
    types: dict[str, str] = {}
    servers: dict[str, set[str]] = defaultdict(set)
    senders: dict[str, set[str]] = defaultdict(set)
    cancelling: dict[str, set[str]] = defaultdict(set)
    for name, namespace in node.get_node_names_and_namespaces():
        full = f"{namespace.rstrip('/')}/{name}"

        def named(
            query: Callable[[str, str], NamesAndTypes],
            suffix: str,
            who: tuple[str, str] = (name, namespace),
        ) -> NamesAndTypes:
            return _with_suffix(query, who, suffix)

        for action, kinds in named(node.get_service_names_and_types_by_node, SEND):
            types[action] = kinds[0].removesuffix("_SendGoal")
            servers[action].add(full)
        for action, _ in named(node.get_publisher_names_and_types_by_node, STATUS):
            servers[action].add(full)
        for action, kinds in named(node.get_publisher_names_and_types_by_node, FEEDBACK):
            types.setdefault(action, kinds[0].removesuffix("_FeedbackMessage"))
        for action, _ in named(node.get_client_names_and_types_by_node, SEND):
            senders[action].add(full)
        for action, _ in named(node.get_client_names_and_types_by_node, CANCEL):
            cancelling[action].add(full)
    return {
        action: ActionSnapshot(
            action_type=types.get(action, "") if "/action/" in types.get(action, "") else "",
            servers=tuple(sorted(servers[action])),
            senders=tuple(sorted(senders[action])),
            cancelling=tuple(sorted(cancelling[action] - senders[action])),
        )
        for action in sorted(servers)
    }


def _with_suffix(
    query: Callable[[str, str], NamesAndTypes], who: tuple[str, str], suffix: str
) -> NamesAndTypes:
    """Return what a node has of that suffix, without it; nothing if the node is gone."""
    try:
        found = query(*who)
    except NodeNameNonExistentError:
        return []
    return [(name.removesuffix(suffix), types) for name, types in found if name.endswith(suffix)]
