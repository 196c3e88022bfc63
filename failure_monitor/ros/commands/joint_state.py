# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Positions or velocities of named joints, as simulators and some drivers expect them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain

from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from failure_monitor.ros.commands.command_type import CommandError, CommandType


class JointStateCommands(CommandType[JointState]):
    """sensor_msgs/msg/JointState: 'hold' is for positions, all else for velocities."""

    message = JointState

    def numbers(self, command: JointState) -> Iterable[float]:
        """Return positions, velocities and efforts, as far as the command has them."""
        return chain(command.position, command.velocity, command.effort)

    def scaled(self, command: JointState, scale: float) -> JointState:
        """Scale all velocities by the same factor."""
        if command.position or command.effort:
            raise CommandError(
                "it has positions or efforts, and only velocities can be slowed: publish "
                "velocities alone, or choose a safe command for positions and no speed scale"
            )
        return JointState(
            header=command.header,
            name=command.name,
            velocity=array("d", [scale * velocity for velocity in command.velocity]),
        )

    def stamped(self, command: JointState, stamp: Time) -> JointState:
        """Return the command with a stamp, in the same frame."""
        return JointState(
            header=Header(stamp=stamp, frame_id=command.header.frame_id),
            name=command.name,
            position=command.position,
            velocity=command.velocity,
        )

    def speeds(self, command: JointState) -> Sequence[float]:
        """Return the speed of every joint."""
        return [abs(velocity) for velocity in command.velocity]

    def joints(self, last: JointState, configured: Sequence[str]) -> Sequence[str]:
        """Return the joints that the command names."""
        names: Sequence[str] = last.name
        return names

    def at_rest(self, last: JointState, positions: Sequence[float], seconds: float) -> JointState:
        """Return the positions as a command."""
        return JointState(header=last.header, name=last.name, position=array("d", positions))
