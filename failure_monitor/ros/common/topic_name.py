# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The full name of a topic that a parameter names."""

from __future__ import annotations

from rclpy.exceptions import NameValidationException
from rclpy.node import Node

from failure_monitor.errors import UsageError


def full_topic_name(node: Node, parameter: str, topic: str, *, is_optional: bool = False) -> str:
    """Return the full name of a topic as the node resolves it, with remappings.

    Args:
        node: the node whose parameter it is.
        parameter: name of the parameter.
        topic: the topic that the parameter names.
        is_optional: whether the topic may be empty; then the full name is, too.

    Raises:
        UsageError: it is not a valid name of a topic; names the parameter.
    """
    if is_optional and not topic:
        return ""
    try:
        name: str = node.resolve_topic_name(topic)
    except (NameValidationException, RuntimeError) as error:
        # Which of the two depends on the version of rclpy.
        reason = str(error).split(", at /", 1)[0]
        raise UsageError(
            f"the parameter '{parameter}' is '{topic}', not a valid topic name ({reason})"
        ) from None
    return name
