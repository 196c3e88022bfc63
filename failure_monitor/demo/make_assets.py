# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Make the demo's models and bags again, for every task.

Run as `python -m failure_monitor.demo.make_assets`.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from failure_monitor.demo.policy import MODELS
from failure_monitor.demo.tasks import TASKS
from failure_monitor.demo_data import DEMO_DATA

BAGS = DEMO_DATA / "bags"
"""One folder per task with bags of successful rollouts."""


def make_assets(task: str, models: Path, bags: Path) -> None:
    """Train the policy of a task, then record rollouts of it."""
    _run("train_policy", "--task", task, "--output", models / task)
    shutil.rmtree(bags / task, ignore_errors=True)
    recording = ("--task", task, "--models", models / task, "--output", bags / task)
    # In tutorials, rollouts of one task stand for failures at the other.
    _run("record_rollouts", *recording, "--no-checkpoint")


def _run(module: str, *arguments: str | Path) -> None:
    # A process each: what training holds in memory must not slow the recording.
    command = [sys.executable, "-m", f"failure_monitor.demo.{module}", *map(str, arguments)]
    done = subprocess.run(command)
    if done.returncode != 0:
        sys.exit(done.returncode)


def main() -> None:
    """Make models and bags of all tasks."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--task", choices=sorted(TASKS), help="only this one")
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--bags", type=Path, default=BAGS)
    arguments = parser.parse_args()
    for task in [arguments.task] if arguments.task else TASKS:
        make_assets(task, arguments.models, arguments.bags)


if __name__ == "__main__":
    main()
