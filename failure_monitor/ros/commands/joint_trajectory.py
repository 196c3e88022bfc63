# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories of named joints, as the joint trajectory controller expects them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from failure_monitor.monitoring.stop_debt import CommandError
from failure_monitor.ros.commands.command_type import ALL_AXES, CommandType, by_joint

SECOND = 1_000_000_000
"""Nanoseconds of a second."""

MAX_DURATION = 2**31 * SECOND
"""Nanoseconds from which on a duration message overflows."""


class JointTrajectoryCommands(CommandType[JointTrajectory]):
    """trajectory_msgs/msg/JointTrajectory.

    A trajectory is slowed when it passes, and keeps to that speed.
    """

    message = JointTrajectory

    def numbers(self, command: JointTrajectory) -> Iterable[float]:
        """Return positions, velocities, accelerations and efforts of every point."""
        return chain.from_iterable(
            chain(point.positions, point.velocities, point.accelerations, point.effort)
            for point in command.points
        )

    def scaled(self, command: JointTrajectory, scale: float) -> JointTrajectory:
        """Stretch the path in time."""
        if command.points and _nanoseconds(command.points[-1].time_from_start) == 0:
            raise CommandError("its points have no times that could be stretched")
        return JointTrajectory(
            header=command.header,
            joint_names=command.joint_names,
            points=[_slowed(point, scale) for point in command.points],
        )

    def axes(self, command: JointTrajectory) -> frozenset[str]:
        """Return the joints that the trajectory names."""
        return frozenset(command.joint_names) or ALL_AXES

    def only(self, command: JointTrajectory, axes: frozenset[str]) -> JointTrajectory:
        """Return a trajectory that names some of the joints; without points, as it only stops."""
        if self.axes(command) == axes:
            return command
        names = [name for name in command.joint_names if name in axes]
        return JointTrajectory(header=command.header, joint_names=names)

    def unknown(self, configured: Sequence[str]) -> JointTrajectory | None:
        """Return a trajectory of the configured joints without points; None without any."""
        return JointTrajectory(joint_names=list(configured)) if configured else None

    def joints(self, last: JointTrajectory, configured: Sequence[str]) -> Sequence[str]:
        """Return the joints that the trajectory names."""
        names: Sequence[str] = last.joint_names
        return names

    def positions(
        self, command: JointTrajectory, configured: Sequence[str]
    ) -> Mapping[str, float]:
        """Return the first point's positions."""
        if not command.points or not command.points[0].positions:
            return {}
        return by_joint(command.points[0].positions, command.joint_names or configured)

    def at_rest(
        self, last: JointTrajectory, positions: Sequence[float], seconds: float
    ) -> JointTrajectory:
        """Return a trajectory of one point; without a stamp it starts at once.

        The controller gets there by a cubic spline from the motion of this moment. Where the
        point is that of a constant deceleration, so is the spline.
        """
        point = JointTrajectoryPoint(
            positions=array("d", positions),
            velocities=array("d", [0.0] * len(positions)),
            time_from_start=_duration(round(seconds * SECOND)),
        )
        return JointTrajectory(joint_names=last.joint_names, points=[point])


def _slowed(point: JointTrajectoryPoint, scale: float) -> JointTrajectoryPoint:
    return JointTrajectoryPoint(
        positions=point.positions,
        velocities=array("d", [scale * value for value in point.velocities]),
        accelerations=array("d", [scale * scale * value for value in point.accelerations]),
        effort=point.effort,
        time_from_start=_duration(round(_nanoseconds(point.time_from_start) / scale)),
    )


def _nanoseconds(duration: Duration) -> int:
    return int(duration.sec) * SECOND + int(duration.nanosec)


def _duration(nanoseconds: int) -> Duration:
    if not -MAX_DURATION <= nanoseconds < MAX_DURATION:
        raise CommandError("it would take longer than a duration message can hold")
    return Duration(sec=nanoseconds // SECOND, nanosec=nanoseconds % SECOND)
