# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What one process, several, and a Ray cluster of this machine take for more and more rollouts.

python benchmarks/fleet_scale.py: the commands themselves, from their start to their end, over
archives of one small rollout each, which are made here. `evaluate` reads and scores, `calibrate`
reads, fits and scores, `archive` puts them into a new store. Executors take turns at every number
of rollouts, so that what else the machine does is the same for all. Memory is that of all
processes at once at most, of which Ray's own servers are some; what they share counts once. `own`
is that of the command's own process.
Every result is compared with that of one process.

--decisions makes the rollouts larger, by which it shows what stays in memory.

With --source store the rollouts lie in one store, with tokens that no score needs, and `calibrate`
is measured at every number, too.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import numpy as np
from benchmark_parts import one_thread

# isort: split
from benchmark_parts.process_memory import run_measured
from benchmark_parts.synthetic_task import SyntheticTask
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import Rollout
from failure_monitor.executors.choice import EXECUTOR_KINDS
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollout_store import add_to_store

assert one_thread
NUMBERS = (10, 100, 1000, 10_000)
COMMANDS = ("evaluate", "calibrate", "archive")
MOST_TO_CALIBRATE = 1000
TASK = SyntheticTask.of_size(embedding=32, samples=8, horizon=8, actions=3, decisions=20)
SCORES = "ace,knn"
SOURCES = ("archives", "store")
TOKENS = (16, 64)
"""The shape of a stored decision's tokens."""

console = Console(width=110)
progress = Console(stderr=True)


@dataclass(frozen=True)
class Run:
    """What a command took.

    Attributes:
        command: evaluate, calibrate or archive.
        rollouts: how many.
        executor: what worked over them.
        seconds: from the command's start to its end.
        cpu_seconds: of all processes.
        peak_megabytes: of all processes at once.
        own_megabytes: of the command's own.
        result: a hash of what it found, but for the date.
    """

    command: str
    rollouts: int
    executor: str
    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    own_megabytes: float
    result: str


def main(
    most: Annotated[int, Option(min=10, help="rollouts at most")] = NUMBERS[-1],
    jobs: Annotated[int, Option(min=1, help="processes or workers")] = 2,
    source: Annotated[
        str, Option(help="archives of a rollout each, or one store", choices=SOURCES)
    ] = SOURCES[0],
    decisions: Annotated[int, Option(min=5, help="decisions of a rollout")] = TASK.decisions,
    command: Annotated[
        list[str] | None, Option(help="what is measured; default: all", choices=COMMANDS)
    ] = None,
    folder: Annotated[Path | None, Option(help="where rollouts are made")] = None,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Evaluate, calibrate and archive more and more rollouts, wherever that can run."""
    task = replace(TASK, decisions=decisions)
    wanted = [name for name in COMMANDS if name in (command or COMMANDS)]
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        root = Path(place)
        numbers = [number for number in NUMBERS if number <= most]
        for number in numbers:
            made = time.perf_counter()
            make_rollouts(root / str(number), number, source, task)
            size = sum(file.stat().st_size for file in (root / str(number)).rglob("*.npz"))
            seconds = time.perf_counter() - made
            progress.print(f"{number} rollouts: {size / 1e6:.1f} MB, made in {seconds:.1f} s")
        for executor in EXECUTOR_KINDS:  # untimed: first readings of packages from disk
            measure(root, "calibrate", numbers[0], executor, jobs)
        for number in numbers:
            for name in wanted:
                if name != "calibrate" or source == "store" or number <= MOST_TO_CALIBRATE:
                    for executor in EXECUTOR_KINDS:
                        runs.append(measure(root, name, number, executor, jobs))
                    if results is not None:
                        results.write_text(json.dumps([*map(asdict, runs)], indent=2) + "\n")
    console.print(runs_table(runs, source, jobs, decisions))


def make_rollouts(folder: Path, number: int, source: str, task: SyntheticTask) -> None:
    if source == "store":
        for begin in range(0, number, 1000):
            seeds = range(begin, min(number, begin + 1000))
            some = tuple(with_tokens(task.rollout(seed)) for seed in seeds)
            add_to_store(folder, RolloutSet(task.policy, some))
        return
    folder.mkdir()
    for seed in range(number):
        rollout_set = RolloutSet(task.policy, (task.rollout(seed),))
        write_archive(folder / f"{seed:05d}.npz", rollout_set)


def with_tokens(rollout: Rollout) -> Rollout:
    return replace(rollout, tokens=np.ones((len(rollout), *TOKENS), np.float32))


def measure(root: Path, command: str, number: int, executor: str, jobs: int) -> Run:
    progress.print(f"{command}, {number} rollouts, {executor}")
    bundle, found = root / "bundle", root / "found"
    how = (root / str(number), "--executor", executor, "--jobs", jobs)
    if command == "calibrate":
        shutil.rmtree(found, ignore_errors=True)
        written = ("--output", found, "--scores", SCORES, "--action-kind", TASK.policy.action_kind)
        taken = run_measured([*command_line(), command, *how, *written])
        if not bundle.exists():
            shutil.copytree(found, bundle)
    elif command == "archive":
        shutil.rmtree(found, ignore_errors=True)
        taken = run_measured([*command_line(), command, *how, "--output", found])
    else:
        shutil.rmtree(found, ignore_errors=True)
        found.mkdir()
        taken = run_measured([*command_line(), command, bundle, *how, "--json", found / "e.json"])
    run = Run(command, number, executor, **asdict(taken), result=content(found))
    progress.print(f"{run.seconds:.1f} s, {run.peak_megabytes:.0f} MB")
    return run


def command_line() -> tuple[str, ...]:
    return (sys.executable, "-m", "failure_monitor.cli")


def content(folder: Path) -> str:
    """Return a hash of all files, but for the date."""
    found = sha256()
    # The names of a store's manifests are dates.
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        lines = path.read_bytes().split(b"\n")
        found.update(b"\n".join(line for line in lines if not line.startswith(b"created:")))
    return found.hexdigest()


def runs_table(runs: Sequence[Run], source: str, jobs: int, decisions: int) -> Table:
    where = "in one store" if source == "store" else "in an archive each"
    table = Table(
        title=f"Rollouts of {decisions} decisions {where}, {jobs} processes or "
        f"workers, scores {SCORES}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for column in ("command", "rollouts", "executor"):
        table.add_column(column)
    for column in ("seconds", "CPU, s", "peak, MB", "own, MB", "same"):
        table.add_column(column, justify="right")
    for run in runs:
        alone = next(
            other
            for other in runs
            if (other.command, other.rollouts) == (run.command, run.rollouts)
        )
        table.add_row(
            run.command,
            str(run.rollouts),
            run.executor,
            f"{run.seconds:.1f}",
            f"{run.cpu_seconds:.1f}",
            f"{run.peak_megabytes:.0f}",
            f"{run.own_megabytes:.0f}",
            "yes" if run.result == alone.result else "no",
        )
    return table


if __name__ == "__main__":
    run_alone(main)
