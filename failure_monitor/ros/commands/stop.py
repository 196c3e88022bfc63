# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How a robot is brought to a stand: the safe commands, over time.

Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from failure_monitor.monitoring.stop_debt import CommandError, Stop
from failure_monitor.ros.commands.command_type import CommandType


@dataclass(frozen=True)
class JointMotion:
    """The measured motion of some joints, in the order in which they were asked for.

    Attributes:
        positions: in rad or m.
        velocities: in rad/s or m/s; None where a joint's are not known.
    """

    positions: tuple[float, ...]
    velocities: tuple[float, ...] | None


def zero(kind: CommandType[Any], last: Any, now: float) -> Stop[Any]:
    """Command velocities of zero at once."""
    still = kind.scaled(last, 0.0)
    return Stop(lambda time: still, settled=now)


def decelerate(
    kind: CommandType[Any], last: Any, limits: Sequence[float], start: float
) -> Stop[Any]:
    """Bring the last command's velocities to zero, all by the same factor at a time.

    Args:
        kind: of commands.
        last: the last command that passed.
        limits: the largest deceleration of each of `kind.speeds`, or one for all.
        start: the time from which on the robot decelerates.
    """
    speeds = kind.speeds(last)
    each = limits if len(limits) == len(speeds) else [limits[0]] * len(speeds)
    duration = max((speed / limit for speed, limit in zip(speeds, each, strict=True)), default=0.0)

    settled = start + duration

    def command(time: float) -> Any:
        left = (settled - time) / duration if time < settled else 0.0
        return kind.scaled(last, min(left, 1.0))

    return Stop(command, settled)


def hold(
    kind: CommandType[Any], last: Any, motion: JointMotion, now: float, period: float
) -> Stop[Any]:
    """Hold the joints at their measured positions.

    Args:
        kind: of commands.
        last: the last command that passed.
        motion: of the joints that it moves, at this time.
        now: the time.
        period: seconds between two safe commands.
    """
    still = kind.at_rest(last, motion.positions, period)
    return Stop(lambda time: still, settled=now)


def decelerate_measured(
    kind: CommandType[Any],
    last: Any,
    motion: JointMotion,
    limit: float,
    now: float,
    period: float,
) -> Stop[Any]:
    """Decelerate from the measured motion to a standstill, all joints in the same time.

    Args:
        kind: of commands.
        last: the last command that passed.
        motion: of the joints that it moves, at this time.
        limit: the largest deceleration of a joint.
        now: the time.
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
    settled = now + duration
    return Stop(lambda time: kind.at_rest(last, rest, max(settled - time, period)), settled)
