# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command `check`, run while a robot goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from testbed.command_line import COMMAND
from testbed.ros_graph import Observer

SECONDS = 5
"""Enough for all to be found on a busy machine."""


def check(robot: Observer | None, *arguments: object) -> tuple[int, list[str], str]:
    """Exit code, findings and complaints of the command, while the robot goes on."""
    process = subprocess.Popen(
        [*COMMAND, "check", *map(str, arguments), "--seconds", str(SECONDS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    while robot is not None and process.poll() is None:
        robot.spin(0.1)
    found, complaints = process.communicate(timeout=60)
    return process.returncode, found.splitlines(), complaints


def lines_of(found: Sequence[str], about: str) -> list[str]:
    return [line for line in found if f" {about}: " in line]
