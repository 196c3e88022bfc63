# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bare numbers: velocities, positions or whatever the controller expects."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence

from std_msgs.msg import Float64MultiArray

from failure_monitor.monitoring.stop_debt import CommandError
from failure_monitor.ros.commands.command_type import CommandType, by_joint


class Float64MultiArrayCommands(CommandType[Float64MultiArray]):
    """std_msgs/msg/Float64MultiArray.

    Only the configuration of the gate defines what the numbers are: 'zero', 'decelerate' and the
    speed scale are for velocities, 'hold' is for joint positions.
    """

    message = Float64MultiArray

    def numbers(self, command: Float64MultiArray) -> Iterable[float]:
        """Return all numbers."""
        data: Iterable[float] = command.data
        return data

    def scaled(self, command: Float64MultiArray, scale: float) -> Float64MultiArray:
        """Scale every number by the same factor."""
        data = array("d", [scale * value for value in command.data])
        return Float64MultiArray(layout=command.layout, data=data)

    def speeds(self, command: Float64MultiArray) -> Sequence[float]:
        """Return the speed of every joint."""
        return [abs(value) for value in command.data]

    def length(self, command: Float64MultiArray) -> int:
        """Return the number of values."""
        return len(command.data)

    def unknown(self, configured: Sequence[str]) -> Float64MultiArray | None:
        """Return as many zeros as there are configured joints; None without any."""
        return Float64MultiArray(data=array("d", [0.0] * len(configured))) if configured else None

    def joints(self, last: Float64MultiArray, configured: Sequence[str]) -> Sequence[str]:
        """Return the configured joints, in their order."""
        if len(last.data) != len(configured):
            raise CommandError(
                f"it has {len(last.data)} values, but the gate is configured for "
                f"{len(configured)} joints"
            )
        return configured

    def positions(
        self, command: Float64MultiArray, configured: Sequence[str]
    ) -> Mapping[str, float]:
        """Return all numbers; asked only where they are positions."""
        return by_joint(command.data, configured)

    def at_rest(
        self, last: Float64MultiArray, positions: Sequence[float], seconds: float
    ) -> Float64MultiArray:
        """Return the positions as a command."""
        return Float64MultiArray(layout=last.layout, data=array("d", positions))
