# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How a robot is brought to a stand: the safe commands, over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from failure_monitor.ros.commands.command_type import CommandError, CommandType


@dataclass(frozen=True)
class JointMotion:
    """The measured motion of some joints, in the order in which they were asked for.

    Attributes:
        positions: in rad or m.
        velocities: in rad/s or m/s; None where a joint's are not known.
    """

    positions: tuple[float, ...]
    velocities: tuple[float, ...] | None


@dataclass(frozen=True)
class Stop:
    """The commands that stop a robot.

    Attributes:
        command: returns what to send a number of seconds after the gate has closed.
        settled: seconds after which it no longer changes.
    """

    command: Callable[[float], Any]
    settled: float = 0.0


def zero(kind: CommandType[Any], last: Any) -> Stop:
    """Command velocities of zero at once."""
    still = kind.scaled(last, 0.0)
    return Stop(lambda seconds: still)


def decelerate(kind: CommandType[Any], last: Any, limits: Sequence[float]) -> Stop:
    """Bring the last command's velocities to zero, all by the same factor at a time.

    Args:
        kind: of commands.
        last: the last command that passed.
        limits: the largest deceleration of each of `kind.speeds`, or one for all.
    """
    speeds = kind.speeds(last)
    each = limits if len(limits) == len(speeds) else [limits[0]] * len(speeds)
    duration = max((speed / limit for speed, limit in zip(speeds, each, strict=True)), default=0.0)

    def command(seconds: float) -> Any:
        return kind.scaled(last, 1.0 - seconds / duration if seconds < duration else 0.0)

    return Stop(command, duration)


def hold(kind: CommandType[Any], last: Any, motion: JointMotion, period: float) -> Stop:
    """Hold the joints at their measured positions.

    Args:
        kind: of commands.
        last: the last command that passed.
        motion: of the joints that it moves.
        period: seconds between two safe commands.
    """
    still = kind.at_rest(last, motion.positions, period)
    return Stop(lambda seconds: still)


def decelerate_measured(
    kind: CommandType[Any], last: Any, motion: JointMotion, limit: float, period: float
) -> Stop:
    """Decelerate from the measured motion to a standstill, all joints in the same time.

    Args:
        kind: of commands.
        last: the last command that passed.
        motion: of the joints that it moves.
        limit: the largest deceleration of a joint.
        period: seconds between two safe commands.

    Raises:
        CommandError: velocities are not measured.
    """
    if motion.velocities is None:
        raise CommandError("the joint states have no velocities from which it could decelerate")
    duration = max(abs(velocity) for velocity in motion.velocities) / limit
    rest = [
        position + velocity * duration / 2
        for position, velocity in zip(motion.positions, motion.velocities, strict=True)
    ]
    return Stop(lambda seconds: kind.at_rest(last, rest, max(duration - seconds, period)), duration)
