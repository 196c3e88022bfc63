# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Target poses of a tool.

Where no more of them come, the robot stays at the last one, so there is nothing to send.
"""

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import PoseStamped

from failure_monitor.ros.commands.command_type import CommandType


class PoseStampedCommands(CommandType[PoseStamped]):
    """geometry_msgs/msg/PoseStamped."""

    message = PoseStamped

    def numbers(self, command: PoseStamped) -> Iterable[float]:
        """Return position and orientation."""
        at, turned = command.pose.position, command.pose.orientation
        return (at.x, at.y, at.z, turned.x, turned.y, turned.z, turned.w)
