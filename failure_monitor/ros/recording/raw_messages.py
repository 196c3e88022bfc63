# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the few raw messages whose content a recorder acts on."""

from __future__ import annotations

from typing import Any

from rclpy.serialization import deserialize_message
from std_msgs.msg import Bool, String

from failure_monitor.errors import FailureMonitorError, UsageError

BOUNDARY_TYPES = {"std_msgs/msg/Bool": Bool, "std_msgs/msg/String": String}
"""Of reports whether a rollout runs, or of which task: see monitoring/rollout_reports.py."""


class UnreadableMessageError(FailureMonitorError):
    """A message is not of the type of its topic."""


def read_raw(topic: str, message_type: str, data: bytes, kind: type) -> Any:
    """Return a message.

    Args:
        topic: where it was received.
        message_type: the type of the topic.
        data: the bytes that were received.
        kind: the class of the type.

    Raises:
        UnreadableMessageError: the bytes are no such message.
    """
    try:
        return deserialize_message(data, kind)
    except Exception:  # rclpy raises whatever the middleware's plug-in does
        raise UnreadableMessageError(
            f"a message on '{topic}' cannot be read as a {message_type}, and is left out: look at "
            "its publisher"
        ) from None


def read_boundary(topic: str, message_type: str, data: bytes) -> bool | str:
    """Return whether a rollout runs, or of which task; false or empty while none does.

    Raises:
        UnreadableMessageError: the bytes are no such message.
        UsageError: messages of this type report no rollouts.
    """
    kind = BOUNDARY_TYPES.get(message_type)
    if kind is None:
        raise UsageError(
            f"'{topic}' is a {message_type}, expected a {' or a '.join(BOUNDARY_TYPES)}: let "
            "'boundary_topic' name the topic that states whether a rollout runs; until then it "
            "divides nothing"
        )
    report = read_raw(topic, message_type, data, kind).data
    return report if isinstance(report, str) else bool(report)
