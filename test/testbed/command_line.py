# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command line, in this process or in one of its own, and bags for it."""

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from failure_monitor.cli import app
from failure_monitor.decision import Rollout
from testbed.bags import ACTIVE, BEGIN, PERIOD, SUCCESS, BagBuilder
from testbed.synthetic import POLICY

COMMAND = [sys.executable, "-m", "failure_monitor.cli"]


def write_rollout_bag(path: Path, rollout: Rollout, *, success: bool | None = True) -> Path:
    """Write a rollout as a bag, without its outcome where that is None."""
    with BagBuilder(path) as bag:
        bag.flag(ACTIVE, True, BEGIN - 1)
        for index, decision in enumerate(rollout.decisions()):
            bag.embedding(decision.embedding, BEGIN + index * PERIOD)
            bag.chunks(decision.chunks, BEGIN + index * PERIOD, names=POLICY.action_names)
        end = BEGIN + len(rollout) * PERIOD
        if success is not None:
            bag.flag(SUCCESS, success, end)
        bag.flag(ACTIVE, False, end + 1)
    return path


def run_here(*arguments: object) -> Result:
    """Run the command in this process; what it raises is raised."""
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def run_command(*arguments: object, **settings: object) -> subprocess.CompletedProcess:
    """Run the command in a process of its own.

    Args:
        arguments: those of the command.
        settings: those of `subprocess.run`.
    """
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        **{"timeout": 240, **settings},
    )
