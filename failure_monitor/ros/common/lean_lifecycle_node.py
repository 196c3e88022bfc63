# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node without the middleware's events, such as those about incompatible QoS.

By default rclpy creates two events for every publisher and subscription, and its executor checks
each of them whenever a message comes. With twenty topics and joint states at 500 Hz that takes more
time than everything else the node does. `failure_monitor.ros.common.publishers` finds in the graph
why no message comes, and a subscriber with incompatible QoS is warned by its own middleware.
"""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription

from failure_monitor.ros.common.incompatible_qos import no_publisher_events, no_subscription_events


class LeanLifecycleNode(LifecycleNode):
    """A lifecycle node whose publishers and subscriptions have no events unless they are given."""

    def create_publisher(self, *arguments: Any, **options: Any) -> Publisher:
        """Create a publisher, as `Node` does."""
        options.setdefault("event_callbacks", no_publisher_events())
        return super().create_publisher(*arguments, **options)

    def create_subscription(self, *arguments: Any, **options: Any) -> Subscription:
        """Create a subscription, as `Node` does."""
        options.setdefault("event_callbacks", no_subscription_events())
        return super().create_subscription(*arguments, **options)
