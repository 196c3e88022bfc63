# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What was sent to the robot between two decisions, beside the robot and from bags.

A command counts at the time of its reception, whatever its header says: a policy may stamp its
commands with their observation, or not at all. A decision takes the mean over the commands that
came since the stamp of the decision before, up to its own, as it does of joint states
(`joint_intervals`).

The values of a command have names, so that another command is told from that of calibration:

    Twist, TwistStamped   linear.x … angular.z
    PoseStamped           position.x … orientation.w
    JointState            <joint>/position, <joint>/velocity, <joint>/effort, as far as stated
    JointTrajectory       of its last point <joint>/position and so on, and `seconds` to get there
    Float64MultiArray     1 of N … N of N
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.joint_motion import QUANTITY_KINDS, JointMotion, quantity_names
from failure_monitor.listed_names import list_names
from failure_monitor.messages.joint_intervals import JointIntervals

TWIST, TWIST_STAMPED = "geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"
JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
ARRAY = "std_msgs/msg/Float64MultiArray"
SENT_TYPES = (TWIST, TWIST_STAMPED, POSE_STAMPED, JOINT_STATE, JOINT_TRAJECTORY, ARRAY)
"""The message types of commands of which values can be read."""

AXES = ("x", "y", "z")
VALUE = "/position"
"""With what the intervals end the name of every value."""

Named = tuple[tuple[str, ...], Sequence[float]]


def named_values(command: Any, message_type: str) -> Named:
    """Return the names of a command's values, and the values.

    Args:
        command: the message, however it was decoded.
        message_type: one of `SENT_TYPES`.
    """
    if message_type == ARRAY:
        count = len(command.data)
        return tuple(f"{index} of {count}" for index in range(1, count + 1)), command.data
    if message_type == JOINT_STATE:
        return _of_joints(command.name, (command.position, command.velocity, command.effort))
    if message_type == JOINT_TRAJECTORY:
        return _of_trajectory(command)
    if message_type == POSE_STAMPED:
        pose = command.pose
        parts = {
            "position": (pose.position, AXES),
            "orientation": (pose.orientation, (*AXES, "w")),
        }
    else:
        twist = command.twist if message_type == TWIST_STAMPED else command
        parts = {"linear": (twist.linear, AXES), "angular": (twist.angular, AXES)}
    names = tuple(f"{part}.{axis}" for part, (_, axes) in parts.items() for axis in axes)
    return names, [getattr(of, axis) for of, axes in parts.values() for axis in axes]


def _of_joints(joints: Sequence[str], kinds: Sequence[Sequence[float]]) -> Named:
    stated = [
        (quantity_names(joints, kind), values)
        for kind, values in zip(QUANTITY_KINDS, kinds, strict=True)
        if len(values) == len(joints)
    ]
    return (
        tuple(name for names, _ in stated for name in names),
        [value for _, values in stated for value in values],
    )


def _of_trajectory(command: Any) -> Named:
    if not command.points:
        return (), []
    last = command.points[-1]
    names, values = _of_joints(command.joint_names, (last.positions, last.velocities, last.effort))
    until = last.time_from_start
    return (*names, "seconds"), [*values, until.sec + 1e-9 * until.nanosec]


class SentCommands:
    """The commands of one topic that wait for a decision, and what each decision takes of them."""

    def __init__(self, topic: str, wanted: Sequence[str] | None = None) -> None:
        """Start without a command.

        Args:
            topic: their topic.
            wanted: the names of the values that are kept, in this order; None for all.
        """
        kept = None if wanted is None else [name + VALUE for name in wanted]
        self._intervals = JointIntervals([topic], kept)
        self._topic = self._intervals.topics[topic]
        self._wanted = wanted
        self._received_before = 0
        self.came = 0
        """Number of commands that came between the last two decisions that were taken."""

    @property
    def received(self) -> int:
        """Number of commands so far."""
        return self._topic.received

    def add(self, received: int, command: Any, message_type: str) -> None:
        """Receive a command.

        Args:
            received: when, in nanoseconds of the clock of the decisions' stamps.
            command: the message.
            message_type: one of `SENT_TYPES`.
        """
        names, values = named_values(command, message_type)
        self._topic.add(received, names, values, (), ())

    def start_rollout(self) -> None:
        """Expect a rollout's first decision, before which there is no interval."""
        self._intervals.start_rollout()

    def clear(self) -> None:
        """Forget all commands, because stamps start again."""
        self._intervals.clear()

    def take(self, stamp: int, motion: JointMotion) -> JointMotion:
        """Return what joints did up to a decision with the commands sent since the one before.

        Args:
            stamp: of the decision's observation.
            motion: what the joints did.
        """
        sent = self._intervals.take(stamp)
        self.came, self._received_before = self.received - self._received_before, self.received
        names = tuple(name.removesuffix(VALUE) for name in sent.names)
        return replace(motion, command_names=names, commands=sent.means)

    @property
    def has_interval(self) -> bool:
        """Whether there was a decision before the one that was taken last."""
        return self._intervals.had_before

    @property
    def missing(self) -> list[str]:
        """The wanted values of which none came for the decision that was taken last."""
        if self._wanted is None or not self.has_interval:
            return []
        counts = zip(self._wanted, self._intervals.counts, strict=True)
        return [name for name, count in counts if not count]

    def fault(self, motion: JointMotion) -> str:
        """Return why the commands of a decision that was taken are unknown; empty if they are.

        That none came is no fault: a gate that is closed sends none.
        """
        if lacking := self._lacking():
            return (
                f"they lack {list_names(lacking)}, which those of calibration had: name the topic "
                "of the same commands ('commands_topic'), or calibrate again"
            )
        if motion.commands is None or not self.has_interval:
            return ""
        counts: NDArray[np.int64] = self._intervals.counts
        broken = np.isnan(motion.commands) & (counts > 0)
        if broken.any():
            names = [motion.command_names[place] for place in np.flatnonzero(broken)]
            return f"{list_names(names)} is NaN or infinite: check who sends them"
        return ""

    def _lacking(self) -> list[str]:
        if self._wanted is None or not self.received:
            return []
        return [name for name in self._wanted if name + VALUE not in self._topic.quantities]

    def problems(self) -> list[str]:
        """Return what was wrong with commands so far of which a part could not be used."""
        return [
            f"on {name}, {topic.fault}"
            for name, topic in self._intervals.topics.items()
            if topic.fault
        ]
