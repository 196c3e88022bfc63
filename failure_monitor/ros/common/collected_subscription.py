# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Messages that are collected when they are needed, instead of waking the executor one by one.

To wake for a message takes an executor several times as long as to read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.subscription import Subscription

from failure_monitor.ros.common.message_info import MessageInfo, pending_messages

MAX_SECONDS_BACK = 1.0
"""Seconds that a message may have waited: more is a wall clock that was set."""


class Collected(CallbackGroup):
    """A group of subscriptions for which no executor waits.

    One that knows no groups calls their callbacks as ever.
    """

    def can_execute(self, entity: Any) -> bool:
        """Return that the executor must not take its messages."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Return likewise."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Do nothing, as nothing is executed."""


def collect(
    node: Node,
    subscription: Subscription,
    limit: int,
    handle: Callable[[Any, MessageInfo, float], None],
) -> None:
    """Handle the messages that wait, with the monotonic times at which they were received.

    Args:
        node: logs what cannot be read, which is as if it had not come.
        subscription: of the group `Collected`.
        limit: number of messages that are handled at most.
        handle: called with each message, its information, and when it came.
    """
    try:
        messages = pending_messages(subscription, limit)
    except Exception as error:  # bytes of another type than the topic's
        node.get_logger().error(
            f"what was received on '{subscription.topic_name}' cannot be read, and is ignored "
            f"({error}): look at who sends it",
            throttle_duration_sec=10.0,
        )
        return
    now, wall = time.monotonic(), time.time_ns()
    for message, info in messages:
        received = info.get("received_timestamp") or wall
        waited = 1e-9 * (wall - received)
        handle(message, info, now - waited if 0 <= waited <= MAX_SECONDS_BACK else now)
