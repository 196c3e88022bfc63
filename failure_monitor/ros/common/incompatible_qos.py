# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Events about a topic's other end whose QoS is incompatible.

The middleware then delivers nothing, and reports it only where an event is requested.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import qos_policy_name_from_kind

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

OnIncompatible = Callable[[str], None]
"""Called with the name of the policy, such as RELIABILITY."""


def subscription_events(on_incompatible: OnIncompatible) -> SubscriptionEventCallbacks:
    """Return the events of a subscription that a publisher may not reach."""
    return SubscriptionEventCallbacks(
        incompatible_qos=lambda event: on_incompatible(_policy(event)), use_default_callbacks=False
    )


def publisher_events(on_incompatible: OnIncompatible) -> PublisherEventCallbacks:
    """Return the events of a publisher that may not reach a subscription."""
    return PublisherEventCallbacks(
        incompatible_qos=lambda event: on_incompatible(_policy(event)), use_default_callbacks=False
    )


def no_publisher_events() -> PublisherEventCallbacks:
    """Return no events for a publisher, since the executor checks each before every command.

    A subscriber with incompatible QoS is warned by its own middleware.
    """
    return PublisherEventCallbacks(use_default_callbacks=False)


def no_subscription_events() -> SubscriptionEventCallbacks:
    """Return no events for a subscription, since the executor checks each before every command."""
    return SubscriptionEventCallbacks(use_default_callbacks=False)


def _policy(event: Any) -> str:
    name: str = qos_policy_name_from_kind(event.last_policy_kind)
    return name
