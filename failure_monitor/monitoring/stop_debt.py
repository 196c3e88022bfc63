# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The stop that the gate owes to every axis that a passed command may still be moving.

A debt arises when a command passes. It is due once the gate closes, and paid when the last safe
command told the axes to stand. Whatever prevents that leaves the debt, and it is tried again.
While a human moves the axes, payment is suspended: the debt is due again once they let go.

Nothing here reads a clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from failure_monitor.errors import FailureMonitorError

Command = TypeVar("Command")

MAX_DEBTS = 64
"""Largest number of commands of which each still moves axes of its own."""


class CommandError(FailureMonitorError):
    """A command may not pass, or a safe command cannot be made."""


@dataclass(frozen=True)
class Stop(Generic[Command]):
    """The commands that stop a robot.

    Attributes:
        command: returns what to send at a time.
        settled: the time from which on it asks for standstill and no longer changes.
    """

    command: Callable[[float], Command]
    settled: float


@dataclass(frozen=True)
class Moved(Generic[Command]):
    """Some axes, and the last command that moved them.

    Attributes:
        command: the command as it passed.
        axes: those that no later command has moved.
    """

    command: Command
    axes: frozenset[str]


NOT_RECEIVED = "nothing receives its commands"

MakeStop = Callable[[Moved[Command], float, float], Stop[Command]]
"""Returns the commands that stop what was moved, given the time since when that is due, and the
present time. Raises `CommandError` if they cannot be made now."""


@dataclass(eq=False)
class _Debt(Generic[Command]):
    moved: Moved[Command]
    is_assumed: bool = False
    due: float | None = None
    stop: Stop[Command] | None = None
    told_to_stand: float | None = None
    problem: str = ""


class StopDebts(Generic[Command]):
    """All stops that are owed on one topic of commands."""

    def __init__(self, make_stop: MakeStop[Command], repeat: float) -> None:
        """Owe nothing.

        Args:
            make_stop: makes the safe commands.
            repeat: seconds for which the command to stand is repeated; at 0 it is sent once.
        """
        self._make_stop = make_stop
        self._repeat = repeat
        self._debts: list[_Debt[Command]] = []

    @property
    def moved(self) -> Sequence[Moved[Command]]:
        """What may still be moving, by the command that moves it."""
        return [debt.moved for debt in self._debts]

    def check(self, axes: frozenset[str]) -> None:
        """Reject a command whose stop could not be kept account of.

        Raises:
            CommandError: too many commands, each for other axes, are already to be stopped.
        """
        if sum(not debt.moved.axes <= axes for debt in self._debts) >= MAX_DEBTS:
            raise CommandError(
                f"{MAX_DEBTS} commands before it, each for other joints, are still to be stopped: "
                "command the same joints together"
            )

    def add(self, command: Command, axes: frozenset[str], *, is_assumed: bool = False) -> None:
        """Owe a stop to the axes of a command that passes, instead of those before to them.

        Args:
            command: the command.
            axes: what it moves.
            is_assumed: whether it stands for what an earlier process may have let through.
        """
        for debt in self._debts:
            if not debt.moved.axes.isdisjoint(axes):
                debt.moved = Moved(debt.moved.command, debt.moved.axes - axes)
                # The stop of the rest is made anew without the axes that move again.
                debt.stop = None
        self._debts = [debt for debt in self._debts if debt.moved.axes]
        self._debts.append(_Debt(Moved(command, axes), is_assumed))

    def close(self, now: float) -> None:
        """Demand the payment of all that is owed."""
        for debt in self._debts:
            if debt.due is None:
                debt.due = now

    def suspend(self) -> None:
        """Demand no payment until `close`: a human moves the axes meanwhile.

        What was told to stand has stood, and is theirs. All else is stopped anew, from where it
        is by then.
        """
        self._debts = [debt for debt in self._debts if debt.told_to_stand is None]
        for debt in self._debts:
            debt.due, debt.stop, debt.problem = None, None, ""

    def remake_stops(self) -> None:
        """Make the stops of all that was not told to stand yet anew."""
        for debt in self._debts:
            if debt.told_to_stand is None:
                debt.stop = None

    def pay(self, now: float, publish: Callable[[Command], bool]) -> None:
        """Send the safe commands of this moment, for all that is due.

        Args:
            now: the time.
            publish: sends a command, and returns whether anything receives it. What it raises
                leaves the debt.
        """
        for debt in list(self._debts):
            if debt.told_to_stand is not None and now - debt.told_to_stand > 2 * self._repeat:
                # After a freeze: it has stood since, or others command it.
                self._debts.remove(debt)
            elif debt.due is not None:
                self._pay(debt, debt.due, now, publish)

    def _pay(
        self, debt: _Debt[Command], due: float, now: float, publish: Callable[[Command], bool]
    ) -> None:
        try:
            if debt.stop is None:
                debt.stop = self._make_stop(debt.moved, due, now)
        except CommandError as error:
            debt.problem = str(error)
            return
        is_received = publish(debt.stop.command(now))
        debt.problem = "" if is_received else NOT_RECEIVED
        if not is_received:
            # Made anew for what receives it later: the robot may be elsewhere by then.
            debt.stop = None
        elif now >= debt.stop.settled:
            debt.told_to_stand = now if debt.told_to_stand is None else debt.told_to_stand
            if now - debt.told_to_stand >= self._repeat:
                self._debts.remove(debt)

    @property
    def is_due(self) -> bool:
        """Whether safe commands are to be sent."""
        return any(debt.due is not None for debt in self._debts)

    @property
    def is_moving(self) -> bool:
        """Whether something that is due was not told to stand, but for what is only assumed."""
        return any(
            debt.due is not None and debt.told_to_stand is None and not debt.is_assumed
            for debt in self._debts
        )

    def standing_time(self, now: float) -> float:
        """Return the seconds since all that is due was told to stand; 0 if something was not."""
        told = [debt.told_to_stand for debt in self._debts if debt.due is not None]
        return min((0.0 if time is None else now - time for time in told), default=0.0)

    @property
    def is_payable(self) -> bool:
        """Whether a stop that is due goes on, whatever prevents others."""
        return any(debt.due is not None and not debt.problem for debt in self._debts)

    @property
    def problem(self) -> str:
        """What prevents a stop that is due, as a sentence; empty if nothing does."""
        return self._problem(is_assumed=False)

    @property
    def assumed_problem(self) -> str:
        """The same for what an earlier process may have let through."""
        return self._problem(is_assumed=True)

    def _problem(self, *, is_assumed: bool) -> str:
        unpaid = [debt for debt in self._debts if debt.problem and debt.is_assumed == is_assumed]
        if not unpaid:
            return ""
        axes = sorted(set().union(*(debt.moved.axes for debt in unpaid)))
        return f"still owes a stop to {named_axes(axes)}: {unpaid[-1].problem}"


def named_axes(axes: Iterable[str]) -> str:
    """Return the axes as text; the empty name stands for all that a command moves."""
    return ", ".join(repr(axis) for axis in axes if axis) or "the robot"
