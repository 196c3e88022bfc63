# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the source of ROS time as it was at a node's start, and impossible times away from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

LOG_PERIOD = 1.0
"""Seconds between two reports of an impossible time."""


class TimeGuard:
    """Rejects another source of time while a node runs, and times below zero on `/clock`.

    What a node has stamped, compared and timed so far would otherwise be in another time than what
    comes. rclpy raises an error for a time below zero.
    """

    def __init__(self, node: Node) -> None:
        """Guard the time of a node.

        Args:
            node: the node.
        """
        self.is_simulated: bool = node.get_parameter("use_sim_time").value
        """Whether the time comes on `/clock`."""
        self.problem = ""
        """What is wrong with the last time that came; empty if nothing."""
        self._node = node
        # It comes first: rclpy would follow the parameter before another callback rejects it.
        node.add_on_set_parameters_callback(self._on_parameters)
        for subscription in node.subscriptions:
            if subscription.msg_type is Clock:
                subscription.callback = self._guarded(subscription.callback)

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "use_sim_time" and parameter.value is not self.is_simulated:
                return SetParametersResult(
                    successful=False,
                    reason="use_sim_time cannot be set while the node runs: start it again "
                    "with it",
                )
        return SetParametersResult(successful=True)

    def _guarded(self, follow: Callable[[Clock], object]) -> Callable[[Clock], None]:
        def on_clock(message: Clock) -> None:
            seconds = message.clock.sec
            if seconds < 0:
                self.problem = f"the time on '/clock' is below zero: {seconds} s"
                self._node.get_logger().error(self.problem, throttle_duration_sec=LOG_PERIOD)
                return
            self.problem = ""
            follow(message)

        return on_clock
