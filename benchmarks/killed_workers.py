# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a calibration whose workers are killed gives the bundle of one that nobody disturbs.

python benchmarks/killed_workers.py: workers on this machine, processes and Ray's in turn, read and
fit; a worker is drawn now and then and killed (SIGKILL), twice in each run. The bundle is compared
byte by byte, but for its date, and rollouts are counted: none twice, none lost.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import psutil
from benchmark_parts import one_thread

# isort: split
from benchmark_parts.synthetic_task import SyntheticTask
from rich.console import Console

from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet

assert one_thread
TASK = SyntheticTask.of_size(embedding=64, samples=16, horizon=8, actions=4, decisions=40)
ROLLOUTS, KILLS = 24, 2
# A limit of memory, far away, makes processes begin at once.
EXECUTORS = {"processes": ("--worker-memory", "8G"), "ray": ()}
COMMAND = (sys.executable, "-m", "failure_monitor.cli", "calibrate")

console = Console(width=110)


def main(
    runs: Annotated[int, Option(min=1, help="runs of each executor")] = 20,
    folder: Annotated[Path | None, Option(help="where rollouts are made")] = None,
) -> None:
    """Kill workers, and compare what comes out."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        (root / "rollouts").mkdir()
        for seed in range(ROLLOUTS):
            rollout_set = RolloutSet(TASK.policy, (TASK.rollout(seed),))
            write_archive(root / "rollouts" / f"{seed:03d}.npz", rollout_set)
        assert calibrated(root, "serial", None) == 0
        undisturbed = content(root / "bundle")
        for executor in EXECUTORS:
            same = killed = 0
            for run in range(runs):
                killed += calibrated(root, executor, random.Random(run))
                same += content(root / "bundle") == undisturbed
            console.print(f"{executor}: {same} of {runs} bundles are the same, {killed} killed")


def calibrated(root: Path, executor: str, kills: random.Random | None) -> int:
    """Calibrate, and kill workers meanwhile; return how many."""
    shutil.rmtree(root / "bundle", ignore_errors=True)
    process = subprocess.Popen(
        [
            *(*COMMAND, root / "rollouts", "--output", root / "bundle", "--jobs", "2"),
            *("--action-kind", TASK.policy.action_kind, "--scores", "ace,knn,rnd_oe"),
            *("--executor", executor, *EXECUTORS.get(executor, ())),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killed = 0
    while kills is not None and killed < KILLS and process.poll() is None:
        time.sleep(kills.uniform(0.1, 1.5))
        workers = [child for child in children_of(process.pid) if is_at_work(child)]
        if workers:
            kills.choice(workers).kill()
            killed += 1
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(said)
    return killed


def children_of(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_at_work(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    # A worker of Ray is called by what it does, as in ray::_read; its servers by what they are.
    return command.startswith("ray::_") or "spawn_main" in command


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.name: b"\n".join(
            line for line in path.read_bytes().split(b"\n") if not line.startswith(b"created:")
        )
        for path in folder.iterdir()
    }


if __name__ == "__main__":
    run_alone(main)
