# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the gate can do with commands of each message type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CommandAbilities:
    """What can be done with commands of one message type.

    Attributes:
        safe_commands: the ways in which a robot that is commanded so can be stopped; see
            docs/gate.md.
        can_be_scaled: whether the speed that a command asks for can be lowered.
        needs_joints: whether the joints that the numbers are for must be configured.
        limits: number of decelerations that 'decelerate' needs.
        decelerates_from_measured: whether 'decelerate' starts from the measured motion of the
            joints; otherwise it starts from the velocities of the last command.
    """

    safe_commands: tuple[str, ...] = ("nothing",)
    can_be_scaled: bool = False
    needs_joints: bool = False
    limits: int = 1
    decelerates_from_measured: bool = False


_TWIST = CommandAbilities(("nothing", "zero", "decelerate"), can_be_scaled=True, limits=2)

COMMAND_ABILITIES: Mapping[str, CommandAbilities] = {
    "geometry_msgs/msg/PoseStamped": CommandAbilities(),
    "geometry_msgs/msg/Twist": _TWIST,
    "geometry_msgs/msg/TwistStamped": _TWIST,
    "sensor_msgs/msg/JointState": CommandAbilities(
        ("nothing", "zero", "decelerate", "hold"), can_be_scaled=True
    ),
    "std_msgs/msg/Float64MultiArray": CommandAbilities(
        ("nothing", "zero", "decelerate", "hold"), can_be_scaled=True, needs_joints=True
    ),
    "trajectory_msgs/msg/JointTrajectory": CommandAbilities(
        ("nothing", "hold", "decelerate"), can_be_scaled=True, decelerates_from_measured=True
    ),
}
"""By the name that ROS 2 gives the message."""
