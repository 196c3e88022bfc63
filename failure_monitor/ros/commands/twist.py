# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Velocities of a body: mobile bases, and arms under servo control."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped, Vector3
from std_msgs.msg import Header

from failure_monitor.ros.commands.command_type import CommandType


class TwistCommands(CommandType[Twist]):
    """geometry_msgs/msg/Twist."""

    message = Twist

    def numbers(self, command: Twist) -> Iterable[float]:
        """Return linear and angular velocity."""
        linear, angular = command.linear, command.angular
        return (linear.x, linear.y, linear.z, angular.x, angular.y, angular.z)

    def scaled(self, command: Twist, scale: float) -> Twist:
        """Slow down on the same path: linear and angular velocity keep their ratio."""
        linear, angular = command.linear, command.angular
        return Twist(
            linear=Vector3(x=scale * linear.x, y=scale * linear.y, z=scale * linear.z),
            angular=Vector3(x=scale * angular.x, y=scale * angular.y, z=scale * angular.z),
        )

    def unknown(self, configured: Sequence[str]) -> Twist:
        """Return a twist of zero: any twist is stopped by it."""
        return Twist()

    def speeds(self, command: Twist) -> Sequence[float]:
        """Return the linear speed in m/s and the angular one in rad/s."""
        linear, angular = command.linear, command.angular
        return (
            math.hypot(linear.x, linear.y, linear.z),
            math.hypot(angular.x, angular.y, angular.z),
        )


class TwistStampedCommands(CommandType[TwistStamped]):
    """geometry_msgs/msg/TwistStamped."""

    message = TwistStamped

    _twist = TwistCommands()

    def numbers(self, command: TwistStamped) -> Iterable[float]:
        """Return linear and angular velocity."""
        return self._twist.numbers(command.twist)

    def scaled(self, command: TwistStamped, scale: float) -> TwistStamped:
        """Scale the twist and keep the header."""
        return TwistStamped(header=command.header, twist=self._twist.scaled(command.twist, scale))

    def stamped(self, command: TwistStamped, stamp: Time) -> TwistStamped:
        """Return the command with a stamp, as controllers reject old ones, in the same frame."""
        header = Header(stamp=stamp, frame_id=command.header.frame_id)
        return TwistStamped(header=header, twist=command.twist)

    def unknown(self, configured: Sequence[str]) -> TwistStamped:
        """Return a twist of zero: any twist is stopped by it."""
        return TwistStamped()

    def speeds(self, command: TwistStamped) -> Sequence[float]:
        """Return the linear speed in m/s and the angular one in rad/s."""
        return self._twist.speeds(command.twist)
