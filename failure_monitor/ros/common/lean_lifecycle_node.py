# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node without the middleware's events, and without requests that end it.

By default rclpy creates two events for every publisher and subscription, and its executor checks
each of them whenever a message comes. With twenty topics and joint states at 500 Hz that takes
more time than everything else the node does. `failure_monitor.ros.common.publishers` finds in the
graph why no message comes, and a subscriber with incompatible QoS is warned by its own middleware.

For a transition that the state does not have, rclpy raises an error where it should answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription

from failure_monitor.ros.common.incompatible_qos import no_publisher_events, no_subscription_events
from failure_monitor.ros.common.rclpy_internals import answer_transitions

MAX_LABEL = 50
"""Characters of a transition's name that are logged."""

Answer = Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response]


class LeanLifecycleNode(LifecycleNode):
    """A lifecycle node whose publishers and subscriptions have no events unless they are given."""

    def __init__(self, name: str, **options: Any) -> None:
        """Create the node, as `LifecycleNode` does."""
        super().__init__(name, **options)
        answer_transitions(self, self._change_state)

    def _change_state(
        self, answer: Answer, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        """Answer a request for a transition: with false if it is not possible."""
        try:
            response = answer(request, response)
        except Exception:
            # rclpy gives no other sign that the state does not have it.
            response.success = False
        if not response.success:
            asked = request.transition
            self.get_logger().warning(
                f"the transition {asked.id} '{asked.label[:MAX_LABEL]}' is unknown, has failed, "
                "or is not possible in this state",
                throttle_duration_sec=1.0,
            )
        return response

    def create_publisher(self, *arguments: Any, **options: Any) -> Publisher:
        """Create a publisher, as `Node` does."""
        options.setdefault("event_callbacks", no_publisher_events())
        return super().create_publisher(*arguments, **options)

    def create_subscription(self, *arguments: Any, **options: Any) -> Subscription:
        """Create a subscription, as `Node` does."""
        options.setdefault("event_callbacks", no_subscription_events())
        return super().create_subscription(*arguments, **options)
