# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One command of every type that the gate passes."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

TWIST = "geometry_msgs/msg/Twist"
TWIST_STAMPED = "geometry_msgs/msg/TwistStamped"
POSE = "geometry_msgs/msg/PoseStamped"
ARRAY = "std_msgs/msg/Float64MultiArray"
JOINTS = "sensor_msgs/msg/JointState"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"

NAMES = ["shoulder", "elbow"]
HEADER = Header(stamp=Time(sec=7, nanosec=8), frame_id="tool")


def twist(linear: float = 0.3, angular: float = -0.6) -> Twist:
    made = Twist()
    made.linear.x, made.angular.z = linear, angular
    return made


def trajectory(*seconds: float) -> JointTrajectory:
    return JointTrajectory(
        header=HEADER,
        joint_names=NAMES,
        points=[
            JointTrajectoryPoint(
                positions=[0.1 * time, -0.2 * time],
                velocities=[0.1, -0.2],
                accelerations=[0.4, 0.0],
                effort=[1.0, 2.0],
                time_from_start=duration(time),
            )
            for time in seconds
        ],
    )


def duration(seconds: float) -> Duration:
    return Duration(sec=int(seconds), nanosec=round((seconds - int(seconds)) * 1e9))


def seconds(duration: Duration) -> float:
    return duration.sec + 1e-9 * duration.nanosec


def commands() -> dict[str, Any]:
    """Return one command of every type."""
    return {
        TWIST: twist(),
        TWIST_STAMPED: TwistStamped(header=HEADER, twist=twist()),
        POSE: PoseStamped(header=HEADER),
        ARRAY: Float64MultiArray(data=[0.5, -1.0]),
        JOINTS: JointState(header=HEADER, name=NAMES, velocity=[0.5, -1.0]),
        TRAJECTORY: trajectory(0.5, 1.0),
    }
