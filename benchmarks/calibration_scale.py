# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How time and memory of `failure-monitor calibrate` grow with the number of rollouts.

python benchmarks/calibration_scale.py: the command itself, from its start to the bundle, over what
is made here: first 50 bags (mcap) of white-box decisions, as a robot records them; then archives
of 10, 100 and 1000 rollouts of a small policy. `CPU each` and `MB each` are what every rollout
added to those of the row before. Memory is that of all processes at once at most; what they share
counts once.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
from benchmark_parts.decision_bags import (
    BEGIN,
    CHUNKS,
    CLOUD,
    EMBEDDINGS,
    LATENCY,
    TYPES,
    cloud_message,
)
from benchmark_parts.process_memory import run_measured
from benchmark_parts.synthetic_task import SyntheticTask
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rosbags.rosbag2 import StoragePlugin, Writer

from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet

assert one_thread
RULES = {"default": (), "fiper": ("--rule", "fiper")}
BAGS = 50
BAG_TASK = SyntheticTask.of_size(embedding=64, samples=64, horizon=16, actions=7, decisions=40)
ROLLOUTS = (10, 100, 1000)
SMALL_TASK = SyntheticTask.of_size(embedding=64, samples=16, horizon=8, actions=4, decisions=40)

console = Console(width=110)
progress = Console(stderr=True)


@dataclass(frozen=True)
class Scale:
    """What one calibration took.

    Attributes:
        source: bags or archive.
        rule: of the scores.
        rollouts: how many.
        read_megabytes: on disk.
        seconds: from the command's start to its end.
        cpu_seconds: of all processes, which other work on the machine does not lengthen.
        peak_megabytes: of all processes at once.
    """

    source: str
    rule: str
    rollouts: int
    read_megabytes: float
    seconds: float
    cpu_seconds: float
    peak_megabytes: float


def main(
    quick: Annotated[bool, Option(help="10 bags, up to 20 rollouts, default rule")] = False,
    jobs: Annotated[int, Option(min=1, help="processes that work at a time")] = 2,
    folder: Annotated[Path | None, Option(help="where bags and archives are made")] = None,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Calibrate on more and more rollouts."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        bags = make_bags(root / "bags", 10 if quick else BAGS)
        archives = [make_archive(root, n) for n in ((10, 20) if quick else ROLLOUTS)]
        rules = ["default"] if quick else [*RULES]
        # Untimed: the first reading of torch from disk says nothing about calibration.
        measure(archives[0][0], "archive", rules[-1], archives[0][1], jobs)
        scales = [measure(bags, "bags", rule, 10 if quick else BAGS, jobs) for rule in rules]
        scales += [
            measure(path, "archive", rule, rollouts, jobs)
            for rule in rules
            for path, rollouts in archives
        ]
    console.print(scales_table(scales, jobs))
    if results is not None:
        results.write_text(json.dumps([*map(asdict, scales)], indent=2) + "\n")


def measure(source: Path, kind: str, rule: str, rollouts: int, jobs: int) -> Scale:
    progress.print(f"{kind}, {rollouts} rollouts, {rule}")
    policy = BAG_TASK.policy if kind == "bags" else SMALL_TASK.policy
    with tempfile.TemporaryDirectory(dir=source.parent) as name:
        taken = run_measured(
            [
                *(sys.executable, "-m", "failure_monitor.cli", "calibrate", source),
                *("--output", Path(name) / "bundle", "--jobs", jobs, *RULES[rule]),
                *("--action-kind", policy.action_kind),
                *("--executed-actions", policy.executed_actions),
            ]
        )
    files = [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
    size = 1e-6 * sum(path.stat().st_size for path in files)
    scale = Scale(
        kind, rule, rollouts, size, taken.seconds, taken.cpu_seconds, taken.peak_megabytes
    )
    progress.print(f"{scale.cpu_seconds:.1f} s of CPU time, {scale.peak_megabytes:.0f} MB")
    return scale


def make_bags(folder: Path, count: int) -> Path:
    """Write a bag for each rollout, with its decisions alone."""
    for rollout in BAG_TASK.rollouts(range(count)):
        write_bag(folder / rollout.name.replace(" ", "_"), rollout, BAG_TASK.policy)
    return folder


def make_archive(root: Path, rollouts: int) -> tuple[Path, int]:
    """Write an archive of so many rollouts of the small policy."""
    path = root / f"{rollouts}.npz"
    write_archive(path, RolloutSet(SMALL_TASK.policy, tuple(SMALL_TASK.rollouts(range(rollouts)))))
    return path, rollouts


def write_bag(path: Path, rollout: Rollout, policy: PolicyFormat) -> None:
    B, H, _ = policy.chunk_shape
    path.parent.mkdir(parents=True, exist_ok=True)
    actions = [(name, 1) for name in policy.action_names]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        embeddings, chunks = (
            writer.add_connection(topic, CLOUD, typestore=TYPES) for topic in (EMBEDDINGS, CHUNKS)
        )
        for decision in rollout.decisions():
            stamp = BEGIN + decision.stamp
            e, A = decision.embedding, decision.chunks
            for connection, message in (
                (embeddings, cloud_message(stamp, e, 1, 1, [("embedding", e.size)])),
                (chunks, cloud_message(stamp, A, B, H, actions)),
            ):
                writer.write(connection, stamp + LATENCY, TYPES.serialize_cdr(message, CLOUD))


def scales_table(scales: Sequence[Scale], jobs: int) -> Table:
    table = Table(
        title=f"`failure-monitor calibrate`, {jobs} processes; rollouts of {SMALL_TASK.decisions} "
        f"decisions\nbags: {_sizes(BAG_TASK.policy)}; archives: {_sizes(SMALL_TASK.policy)}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for column in ("source", "rule"):
        table.add_column(column)
    for column in ("rollouts", "MB", "seconds", "CPU, s", "peak, MB", "CPU each", "MB each"):
        table.add_column(column, justify="right")
    for scale, before in _with_before(scales):
        table.add_row(
            scale.source,
            scale.rule,
            str(scale.rollouts),
            f"{scale.read_megabytes:.1f}",
            f"{scale.seconds:.1f}",
            f"{scale.cpu_seconds:.1f}",
            f"{scale.peak_megabytes:.0f}",
            *_growth(scale, before),
        )
    return table


def _with_before(scales: Sequence[Scale]) -> Iterator[tuple[Scale, Scale | None]]:
    """Yield every calibration with that of the same kind on fewer rollouts."""
    last: dict[tuple[str, str], Scale] = {}
    for scale in scales:
        key = (scale.source, scale.rule)
        yield scale, last.get(key)
        last[key] = scale


def _growth(scale: Scale, before: Scale | None) -> tuple[str, str]:
    if before is None:
        return "", ""
    more = scale.rollouts - before.rollouts
    return (
        f"{(scale.cpu_seconds - before.cpu_seconds) / more:.3f}",
        f"{(scale.peak_megabytes - before.peak_megabytes) / more:.2f}",
    )


def _sizes(policy: PolicyFormat) -> str:
    B, H, D = policy.chunk_shape
    return f"E {policy.embedding_size}, B {B}, H {H}, D {D}"


if __name__ == "__main__":
    run_alone(main)
