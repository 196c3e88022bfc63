# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""ROS's own parameters for the quality of service of a topic: `qos_overrides.<topic>...`.

ROS names the topic as it is called after remappings, and ignores what names it otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rclpy.exceptions import NameValidationException
from rclpy.node import Node

from failure_monitor.errors import UsageError
from failure_monitor.ros.common.rclpy_internals import given_parameters

PREFIX = "qos_overrides."


def check_overrides(node: Node, topics: Collection[str]) -> None:
    """Reject overrides for topics that have no effect, and report those for other topics.

    Args:
        node: the node, with all publishers and subscriptions that can be overridden.
        topics: the full names of their topics.

    Raises:
        UsageError: names the parameter, and those that have an effect.
    """
    for name in given_parameters(node):
        if not name.startswith(PREFIX) or node.has_parameter(name):
            continue
        topic, _, rest = name.removeprefix(PREFIX).partition(".")
        called = _resolved(node, topic)
        if called in topics:
            raise UsageError(
                f"{node.get_name()}: the parameter '{name}' has no effect"
                f"{_advice(node, topic, called, rest)}"
            )
        node.get_logger().warning(f"the parameter '{name}' has no effect on this node")


def _advice(node: Node, topic: str, called: str, rest: str) -> str:
    right = f"{PREFIX}{called}.{rest}"
    if called != topic and node.has_parameter(right):
        return f", as the topic is called '{called}' here: write '{right}'"
    return f": there are {', '.join(_overrides(node, called))}"


def _overrides(node: Node, topic: str) -> Sequence[str]:
    prefix = f"{PREFIX}{topic}"
    return [f"{prefix}.{name}" for name in sorted(node.get_parameters_by_prefix(prefix))]


def _resolved(node: Node, topic: str) -> str:
    try:
        name: str = node.resolve_topic_name(topic)
    except (NameValidationException, RuntimeError):
        # Which of the two depends on the version of rclpy.
        return topic
    return name
