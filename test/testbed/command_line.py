# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command line in a process of its own, and bags for it."""

import os
import subprocess
import sys
from pathlib import Path

from failure_monitor.decision import Rollout
from testbed.bags import ACTIVE, BEGIN, PERIOD, SUCCESS, BagBuilder
from testbed.synthetic import POLICY


def write_rollout_bag(path: Path, rollout: Rollout, *, success: bool = True) -> None:
    """Write a rollout as a bag."""
    with BagBuilder(path) as bag:
        bag.flag(ACTIVE, True, BEGIN - 1)
        for index, decision in enumerate(rollout.decisions()):
            bag.embedding(decision.embedding, BEGIN + index * PERIOD)
            bag.chunks(decision.chunks, BEGIN + index * PERIOD, names=POLICY.action_names)
        bag.flag(SUCCESS, success, BEGIN + len(rollout) * PERIOD)
        bag.flag(ACTIVE, False, BEGIN + len(rollout) * PERIOD + 1)


def run_command(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "failure_monitor.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        timeout=120,
    )
