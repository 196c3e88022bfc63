# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The gate: passes a command only while the monitor's permit is fresh.

It depends on nothing but the permit and imports nothing heavy. If the monitor dies, hangs, loses
its inputs or its machine, no permit comes, and the gate closes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import Twist
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool, Float64MultiArray

from failure_monitor.errors import UsageError
from failure_monitor.permit import PermitLease
from failure_monitor.ros.parameters import declare
from failure_monitor.ros.qos import LATCHED_QOS, PERMIT_SUBSCRIPTION_QOS
from failure_monitor.ros.run import run_node

COMMAND_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Only the newest command is of use."""

SAFE_COMMANDS = ("zero", "nothing")


@dataclass(frozen=True)
class CommandType:
    """How commands of one message type are looked at and stopped.

    Attributes:
        message: the message class.
        values: all numbers of a command.
        zero: the command that asks for no motion, of the size of the last one that passed.
    """

    message: type
    values: Callable[[Any], Iterable[float]]
    zero: Callable[[Any], Any]


def _twist_values(twist: Twist) -> Iterable[float]:
    linear, angular = twist.linear, twist.angular
    return (linear.x, linear.y, linear.z, angular.x, angular.y, angular.z)


COMMAND_TYPES = {
    "geometry_msgs/msg/Twist": CommandType(Twist, _twist_values, lambda last: Twist()),
    "std_msgs/msg/Float64MultiArray": CommandType(
        Float64MultiArray,
        lambda command: command.data,
        lambda last: Float64MultiArray(layout=last.layout, data=[0.0] * len(last.data)),
    ),
}


class GateNode(Node):
    """Passes `command_in` on to `command_out` while the permit lasts, else stops the robot."""

    def __init__(self) -> None:
        super().__init__("failure_monitor_gate")
        self._command_type = self._declare_choice(
            "command_type",
            "std_msgs/msg/Float64MultiArray",
            COMMAND_TYPES,
            "the message type of the commands",
        )
        self._safe_command = self._declare_choice(
            "safe_command",
            "nothing",
            {choice: choice for choice in SAFE_COMMANDS},
            "what is sent once when the gate closes: 'zero', or 'nothing' for a robot that "
            "stops by itself when commands cease",
        )
        lease = declare(
            self,
            "permit_lease",
            0.2,
            "seconds for which one permit is good",
            bounds=(0.01, 10.0),
            read_only=True,
        )
        permit_topic = declare(
            self, "permit_topic", "failure_monitor/permit", "the monitor's permit", read_only=True
        )
        self._lease = PermitLease(lease)
        self._last_passed: Any = None
        self._was_open = False
        self._dropped = 0
        message = self._command_type.message
        self._command_publisher = self.create_publisher(message, "command_out", COMMAND_QOS)
        self._open_publisher = self.create_publisher(Bool, "~/open", LATCHED_QOS)
        # The permit first: of two messages that wait, the executor takes that of the older
        # subscription, and a withdrawn permit must be known before the next command.
        self.create_subscription(Bool, permit_topic, self._on_permit, PERMIT_SUBSCRIPTION_QOS)
        self.create_subscription(message, "command_in", self._on_command, COMMAND_QOS)
        # A steady clock: the lease must run out whatever happens to ROS time.
        self._expiry = self.create_timer(
            lease, self._show_state, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._open_publisher.publish(Bool(data=False))
        self.get_logger().info(f"closed: {self._lease.reason(time.monotonic())}")

    def _declare_choice(self, name: str, default: str, choices: dict[str, Any], what: str) -> Any:
        known = ", ".join(choices)
        value = declare(self, name, default, f"{what}; one of: {known}", read_only=True)
        if value not in choices:
            raise UsageError(f"gate_node: the parameter '{name}' is '{value}', not one of: {known}")
        return choices[value]

    def _on_permit(self, permit: Bool) -> None:
        self._lease.hear(permit.data, time.monotonic())
        self._expiry.reset()
        self._show_state()

    def _on_command(self, command: Any) -> None:
        if not self._lease.is_open(time.monotonic()):
            self._show_state()
            self._dropped += 1
        elif not all(math.isfinite(value) for value in self._command_type.values(command)):
            self._dropped += 1
            self.get_logger().error(
                "dropped a command with NaN or infinite values", throttle_duration_sec=1.0
            )
        else:
            self._last_passed = command
            self._command_publisher.publish(command)

    def _show_state(self) -> None:
        """Publish and log that the gate opened or closed, and stop the robot when it closed."""
        now = time.monotonic()
        is_open = self._lease.is_open(now)
        if is_open == self._was_open:
            return
        self._was_open = is_open
        if not is_open:
            self._stop_robot()
        self._open_publisher.publish(Bool(data=is_open))
        dropped = f"; {self._dropped} commands were dropped meanwhile" if is_open else ""
        self._dropped = 0
        self.get_logger().info(
            f"{'open' if is_open else 'closed'}: {self._lease.reason(now)}{dropped}"
        )

    def _stop_robot(self) -> None:
        if self._safe_command == "zero" and self._last_passed is not None:
            self._command_publisher.publish(self._command_type.zero(self._last_passed))


def main() -> None:
    """Run the node."""
    run_node(GateNode)


if __name__ == "__main__":
    main()
