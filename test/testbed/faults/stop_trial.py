# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A gate without a monitor is attacked; the robot must be told to stand in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from testbed.gate_robot import GateRobot

SLACK = 0.3
"""Seconds that a busy machine may take on top of what is promised."""


@dataclass
class StopTrial:
    """A row of the table.

    Attributes:
        name: what is broken.
        promised: seconds within which the robot is told to stand.
        delays: seconds until it was, of every trial.
        moved: commands that moved it afterwards.
    """

    name: str
    promised: float
    delays: list[float] = field(default_factory=list)
    moved: int = 0

    def stands(
        self,
        robot: GateRobot,
        cause: Callable[[], object],
        is_at_rest: Callable[[Any], bool],
        topic: str = "command_out",
    ) -> None:
        """Break something while the robot moves, and see it told to stand, and to stay so.

        Args:
            robot: moves by what it received last.
            cause: breaks it.
            is_at_rest: whether a command tells the robot to stand.
            topic: on which it is told so.
        """
        before = len(robot.passed(topic))
        cause()
        begin = time.monotonic()

        def rest() -> int:
            """Return the number of commands until the first that tells it to stand."""
            told = list(map(is_at_rest, robot.passed(topic)[before:]))
            return told.index(True) + 1 if any(told) else 0

        robot.wait_for(rest, "the robot to stand", 20.0)
        self.delays.append(time.monotonic() - begin)
        assert self.delays[-1] < self.promised + SLACK
        robot.spin(0.3)
        later = robot.passed(topic)[before + rest() :]
        self.moved += sum(not is_at_rest(command) for command in later)
        assert is_at_rest(robot.passed(topic)[-1])

    def withholds(
        self, robot: GateRobot, send: Callable[[], object], is_at_rest: Callable[[Any], bool]
    ) -> None:
        """Check that for a second no command passes that would move the robot."""
        robot.received["command_out"].clear()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            send()
            robot.spin(0.01)
        self.moved += sum(not is_at_rest(command) for command in robot.passed())
        assert self.moved == 0

    def cells(self) -> tuple[str, ...]:
        """Return the row as the table shows it."""
        return (
            self.name,
            str(max(len(self.delays), 1)),
            f"{max(self.delays):.3f} s" if self.delays else "-",
            f"{self.promised:.3f} s" if self.delays else "-",
            str(self.moved),
            "-",
        )
