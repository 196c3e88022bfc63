# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the middleware knows of a message besides its contents, and messages that wait.

The callbacks of ROS 2 Humble are given no such information, and some middleware has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription

MessageInfo = Mapping[str, Any]
"""Information by name, such as `source_timestamp`."""

HAS_INFO = hasattr(Subscription, "CallbackType")
"""Whether rclpy gives the information to callbacks that accept it."""


def with_info(callback: Callable[[Any, MessageInfo], None]) -> Callable[..., None]:
    """Return a callback that also receives the information, empty where rclpy gives none."""
    return callback if HAS_INFO else lambda message: callback(message, {})


def source_stamp(info: MessageInfo) -> int | None:
    """Return when a message was published, in nanoseconds of its publisher's wall clock."""
    return info.get("source_timestamp") or None


def publication_time(info: MessageInfo) -> int:
    """Return when a message was published, in nanoseconds; where unknown, when it was received.

    Of messages of one process they tell the order, which those of several topics do not keep.
    """
    stamp = source_stamp(info)
    return time.monotonic_ns() if stamp is None else stamp


def seconds_since_publication(info: MessageInfo) -> float:
    """Return the age of a message by the wall clocks of both machines; 0 where it is unknown."""
    stamp = source_stamp(info)
    return 0.0 if stamp is None else 1e-9 * (time.time_ns() - stamp)


def sequence_number(info: MessageInfo) -> int | None:
    """Return the number of a message among those of its publisher; None where it is unknown."""
    number = info.get("publication_sequence_number")
    # The largest number stands for a middleware that counts none.
    return None if number in (None, 2**64 - 1) else int(number)


def pending_messages(subscription: Subscription, limit: int) -> list[tuple[Any, MessageInfo]]:
    """Return up to `limit` messages that wait for the executor, which will not call for them."""
    messages: list[tuple[Any, MessageInfo]] = []
    with subscription.handle:
        while len(messages) < limit:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                break
            messages.append(taken)
    return messages


def publisher_count(node: Node, subscription: Subscription) -> int:
    """Return the number of publishers of a subscription, as soon as one can reach it."""
    if hasattr(subscription, "get_publisher_count"):
        return int(subscription.get_publisher_count())
    # ROS 2 Humble has only the count of the whole graph, which may be late.
    return node.count_publishers(subscription.topic_name)
