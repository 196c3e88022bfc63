# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the gate must know of a message type to check, slow and replace its commands."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from builtin_interfaces.msg import Time

from failure_monitor.monitoring.stop_debt import CommandError

Message = TypeVar("Message")

ALL_AXES = frozenset({""})
"""The axes of a command that names none: all that commands of its topic move."""


class CommandType(ABC, Generic[Message]):
    """Commands of one message type.

    What can be done with a type is in failure_monitor/parameters/command_types.py; the methods
    for anything else are never called.

    Attributes:
        message: the message class.
    """

    message: type[Message]

    @abstractmethod
    def numbers(self, command: Message) -> Iterable[float]:
        """Return all numbers of a command that must be finite.

        Raises:
            CommandError: they do not fit each other.
        """

    def scaled(self, command: Message, scale: float) -> Message:
        """Return the same motion at a part of its speed; at 0 a command to stand still.

        Raises:
            CommandError: it cannot be slowed.
        """
        raise NotImplementedError

    def stamped(self, command: Message, stamp: Time) -> Message:
        """Return a command of the gate with a stamp, where the type carries one."""
        return command

    def speeds(self, command: Message) -> Sequence[float]:
        """Return the absolute speeds to bring down to zero: at least one for each limit."""
        raise NotImplementedError

    def axes(self, command: Message) -> frozenset[str]:
        """Return the names of what a command moves; `ALL_AXES` where it names nothing."""
        return ALL_AXES

    def length(self, command: Message) -> int:
        """Return the number of values of a command that names no axes; 0 for one that names them.

        A controller may go on with the command before if it accepts one length only.
        """
        return 0

    def only(self, command: Message, axes: frozenset[str]) -> Message:
        """Return the part of a command that moves some of its axes."""
        return command

    def unknown(self, configured: Sequence[str]) -> Message | None:
        """Return a command that stands for an unknown earlier one, to be stopped like it.

        Args:
            configured: the joints that the parameters name.

        Returns:
            None where a stop cannot be made without the earlier command.
        """
        return None

    def joints(self, last: Message, configured: Sequence[str]) -> Sequence[str]:
        """Return the names of the joints that a command moves.

        Raises:
            CommandError: they do not fit the configured joints.
        """
        raise NotImplementedError

    def positions(self, command: Message, configured: Sequence[str]) -> Mapping[str, float]:
        """Return the positions to which a command moves joints first, by joint, if it does.

        Raises:
            CommandError: it is not known for which joints they are.
        """
        return {}

    def at_rest(self, last: Message, positions: Sequence[float], seconds: float) -> Message:
        """Return a command to be at rest at these joint positions.

        Args:
            last: the last command that passed.
            positions: one for each of its joints.
            seconds: the time to get there, for types that carry it.
        """
        raise NotImplementedError


def by_joint(values: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """Return values by joint.

    Raises:
        CommandError: they are not one for each.
    """
    if len(values) != len(names):
        raise CommandError(
            f"it has {len(values)} positions for {len(names)} joints that it or the gate's "
            "parameter 'joints' names, so that they cannot be compared with where the robot is"
        )
    return dict(zip(names, values, strict=True))


def check_numbers(kind: CommandType[Any], command: Any) -> None:
    """Reject a command without numbers, or with NaN or infinite ones.

    Raises:
        CommandError: it is such a command.
    """
    numbers = list(kind.numbers(command))
    if not numbers:
        raise CommandError("it has no values")
    if not all(map(math.isfinite, numbers)):
        raise CommandError("it has NaN or infinite values")
