# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The message types that commands may have: one file each, and a table by name."""

from __future__ import annotations

from typing import Any

from failure_monitor.ros.commands.command_type import CommandType
from failure_monitor.ros.commands.float64_multi_array import Float64MultiArrayCommands
from failure_monitor.ros.commands.joint_state import JointStateCommands
from failure_monitor.ros.commands.joint_trajectory import JointTrajectoryCommands
from failure_monitor.ros.commands.pose_stamped import PoseStampedCommands
from failure_monitor.ros.commands.twist import TwistCommands, TwistStampedCommands

COMMAND_TYPES: dict[str, CommandType[Any]] = {
    "geometry_msgs/msg/PoseStamped": PoseStampedCommands(),
    "geometry_msgs/msg/Twist": TwistCommands(),
    "geometry_msgs/msg/TwistStamped": TwistStampedCommands(),
    "sensor_msgs/msg/JointState": JointStateCommands(),
    "std_msgs/msg/Float64MultiArray": Float64MultiArrayCommands(),
    "trajectory_msgs/msg/JointTrajectory": JointTrajectoryCommands(),
}
"""Command types by the ROS 2 name of their message."""
