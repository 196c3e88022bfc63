# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""To be told when the other end of a topic asks for, or offers, what does not go together.

The middleware then delivers nothing, and says nothing unless it is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import qos_policy_name_from_kind

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

Told = Callable[[str], None]
"""Called with the name of the policy, such as RELIABILITY."""


def subscription_events(told: Told) -> SubscriptionEventCallbacks:
    """For a subscription that a publisher cannot reach."""
    return SubscriptionEventCallbacks(
        incompatible_qos=lambda event: told(_policy(event)), use_default_callbacks=False
    )


def publisher_events(told: Told) -> PublisherEventCallbacks:
    """For a publisher that a subscription cannot hear."""
    return PublisherEventCallbacks(
        incompatible_qos=lambda event: told(_policy(event)), use_default_callbacks=False
    )


def no_publisher_events() -> PublisherEventCallbacks:
    """For a publisher on whose every event the executor would spend time before each command.

    Who subscribes in vain is told by its own middleware.
    """
    return PublisherEventCallbacks(use_default_callbacks=False)


def no_subscription_events() -> SubscriptionEventCallbacks:
    """For a subscription on whose every event the executor would spend time likewise."""
    return SubscriptionEventCallbacks(use_default_callbacks=False)


def _policy(event: Any) -> str:
    name: str = qos_policy_name_from_kind(event.last_policy_kind)
    return name
