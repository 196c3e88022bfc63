# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Positions or velocities of named joints, as simulators and some drivers expect them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from failure_monitor.monitoring.stop_debt import CommandError
from failure_monitor.ros.commands.command_type import ALL_AXES, CommandType, by_joint


class JointStateCommands(CommandType[JointState]):
    """sensor_msgs/msg/JointState: 'hold' is for positions, all else for velocities."""

    message = JointState

    def numbers(self, command: JointState) -> Iterable[float]:
        """Return positions, velocities and efforts, as far as the command has them.

        Raises:
            CommandError: they are not one for each name.
        """
        for values in (command.position, command.velocity, command.effort):
            if command.name and values and len(values) != len(command.name):
                raise CommandError(
                    f"it has {len(values)} values for {len(command.name)} names of joints"
                )
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

    def axes(self, command: JointState) -> frozenset[str]:
        """Return the joints that the command names."""
        return frozenset(command.name) or ALL_AXES

    def length(self, command: JointState) -> int:
        """Return the number of values of a command without names."""
        return 0 if command.name else max(len(command.position), len(command.velocity))

    def only(self, command: JointState, axes: frozenset[str]) -> JointState:
        """Return the command for some of its joints."""
        if self.axes(command) == axes:
            return command
        kept = [index for index, name in enumerate(command.name) if name in axes]
        return JointState(
            header=command.header,
            name=[command.name[index] for index in kept],
            position=_picked(command.position, kept),
            velocity=_picked(command.velocity, kept),
            effort=_picked(command.effort, kept),
        )

    def unknown(self, configured: Sequence[str]) -> JointState | None:
        """Return velocities of zero for the configured joints; None without any."""
        velocity = array("d", [0.0] * len(configured))
        return JointState(name=list(configured), velocity=velocity) if configured else None

    def joints(self, last: JointState, configured: Sequence[str]) -> Sequence[str]:
        """Return the joints that the command names."""
        names: Sequence[str] = last.name
        return names

    def positions(self, command: JointState, configured: Sequence[str]) -> Mapping[str, float]:
        """Return its positions, if it has some."""
        return by_joint(command.position, command.name or configured) if command.position else {}

    def at_rest(self, last: JointState, positions: Sequence[float], seconds: float) -> JointState:
        """Return the positions as a command."""
        return JointState(header=last.header, name=last.name, position=array("d", positions))


def _picked(values: Sequence[float], kept: Sequence[int]) -> array[float]:
    """Return the values at some indices, as far as there are values."""
    return array("d", [values[index] for index in kept if index < len(values)])
