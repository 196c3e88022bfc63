# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How long calibration takes, from rollouts in memory to a bundle.

python benchmarks/calibration_time.py: the default rule and `fiper`, whose networks are trained,
with ten folds on two processes, over a growing number of rollouts. A straight line through the
times, weighted so that each counts alike, shows how they grow: a constant for the processes to
start, and so much for every rollout.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
from benchmark_parts.synthetic_task import SyntheticTask
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option

assert one_thread
TASK = SyntheticTask.of_size(embedding=64, samples=64, horizon=16, actions=7, decisions=40)
ROLLOUTS = (10, 20, 50, 100, 200)
TARGET_ROLLOUTS = 50
TARGETS_S = {"default": 5.0, "fiper": 40.0}
FOLDS = 10

console = Console(width=110)
progress = Console(stderr=True)


@dataclass(frozen=True)
class Timing:
    """Seconds to calibrate a rule on so many rollouts."""

    rule: str
    rollouts: int
    decisions: int
    seconds: float


@dataclass(frozen=True)
class Growth:
    """The line through the timings of a rule.

    Attributes:
        rule: which.
        constant: seconds.
        per_rollout: seconds.
        largest_deviation: of a timing from the line, as a share of it.
    """

    rule: str
    constant: float
    per_rollout: float
    largest_deviation: float


def main(
    quick: Annotated[bool, Option(help="10 and 50 rollouts only")] = False,
    jobs: Annotated[int, Option(min=1, help="processes that fit at a time")] = 2,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Time the calibration of two rules."""
    rules = {
        "default": CalibrationSettings(folds=FOLDS, jobs=jobs),
        "fiper": CalibrationSettings(scores=("rnd_oe", "ace"), rule="all", folds=FOLDS, jobs=jobs),
    }
    numbers = (10, TARGET_ROLLOUTS) if quick else ROLLOUTS
    rollouts = TASK.rollouts(range(max(numbers)))
    timings: dict[str, list[Timing]] = {rule: [] for rule in rules}
    # Untimed: the first reading of torch from disk says nothing about calibration.
    calibrate(rollouts[:10], TASK.policy, rules["fiper"])
    for n in numbers:
        for rule, settings in rules.items():
            progress.print(f"{rule}: {n} rollouts")
            began = time.perf_counter()
            calibrate(rollouts[:n], TASK.policy, settings)
            took = time.perf_counter() - began
            timings[rule].append(Timing(rule, n, sum(map(len, rollouts[:n])), took))
    growths = {rule: _growth(of_rule) for rule, of_rule in timings.items()}
    console.print(_table(timings, growths, jobs))
    for rule, of_rule in timings.items():
        took = next(each.seconds for each in of_rule if each.rollouts == TARGET_ROLLOUTS)
        console.print(
            f"{rule}: {took:.1f} s for {TARGET_ROLLOUTS} rollouts "
            f"{'meets' if took <= TARGETS_S[rule] else 'MISSES'} the target of "
            f"{TARGETS_S[rule]:g} s",
            highlight=False,
        )
    if results is not None:
        figures = {
            rule: {
                "timings": [asdict(timing) for timing in of_rule],
                "growth": asdict(growths[rule]),
            }
            for rule, of_rule in timings.items()
        }
        results.write_text(json.dumps(figures, indent=2) + "\n")


def _growth(timings: list[Timing]) -> Growth:
    numbers = np.array([timing.rollouts for timing in timings])
    seconds = np.array([timing.seconds for timing in timings])
    per_rollout, constant = np.polyfit(numbers, seconds, 1, w=1 / seconds)
    deviations = seconds / (constant + per_rollout * numbers) - 1
    return Growth(
        timings[0].rule, float(constant), float(per_rollout), float(np.abs(deviations).max())
    )


def _table(timings: dict[str, list[Timing]], growths: dict[str, Growth], jobs: int) -> Table:
    policy = TASK.policy
    B, H, D = policy.chunk_shape
    table = Table(
        title=f"Seconds to calibrate rollouts of {TASK.decisions} decisions: B {B}, H {H}, D {D}, "
        f"E {policy.embedding_size}; {FOLDS} folds, {jobs} processes",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("rollouts")
    for timing in next(iter(timings.values())):
        table.add_column(str(timing.rollouts), justify="right")
    table.add_column("constant + each", justify="right")
    table.add_column("off the line", justify="right")
    for rule, of_rule in timings.items():
        growth = growths[rule]
        table.add_row(
            rule,
            *(f"{timing.seconds:.1f}" for timing in of_rule),
            f"{growth.constant:.1f} + {growth.per_rollout:.3f}",
            f"≤ {100 * growth.largest_deviation:.0f} %",
        )
    return table


if __name__ == "__main__":
    run_alone(main)
