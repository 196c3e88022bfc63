# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How many true successes the outcome check doubts, against what was promised, and its time.

python benchmarks/outcome_coverage.py: successful rollouts of an imaginary task, drawn again for
each split. python benchmarks/outcome_coverage.py ARCHIVE...: the successful undisturbed rollouts
of each archive, dealt at random again and again. Of each split some calibrate, as
`failure-monitor calibrate` does it, and the others are true successes to come.

Beside them stand false successes: failed rollouts of the archive, which claim success after as
many decisions as a calibration rollout took. How many of these are found is not promised.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
from benchmark_parts.exchangeable_rollouts import Archived, Drawn, Source
from benchmark_parts.synthetic_task import SyntheticTask
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.calibration.cross_fitting import deal
from failure_monitor.calibration.outcome_fitting import EndSettings, fit_outcome_check
from failure_monitor.calibration.settings import USUAL_FOLDS
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.decision import Rollout
from failure_monitor.outcome.check import OutcomeCheck
from failure_monitor.outcome.rollout_end import RolloutEnd
from failure_monitor.outcome.verdict import OutcomeWord
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.thresholds.conformal import rank

assert one_thread
NUMBERS = (10, 20, 50)
TESTS = 20
PARTS = {
    "all": ("embedding", "positions", "actions", "length"),
    "without the embedding": ("positions", "actions", "length"),
    "positions alone": ("positions",),
}
IMAGINARY_TASK = SyntheticTask.of_size(
    embedding=12, samples=16, horizon=8, actions=3, decisions=20
)
console = Console(width=120)


@dataclass(frozen=True)
class Cell:
    """What a check does with ends, over splits.

    Attributes:
        source: of the rollouts.
        parts: what is compared.
        n: calibration rollouts.
        exact: the share of doubted true successes that ranks allow.
        doubted: the share of true successes that are doubted, the mean over splits.
        standard_error: of that mean.
        found: the share of false successes that are doubted; None without any.
        splits: how many.
        milliseconds: the 99th percentile of the time of a check.
    """

    source: str
    parts: str
    n: int
    exact: float
    doubted: float
    standard_error: float
    found: float | None
    splits: int
    milliseconds: float


def main(
    archives: Annotated[
        list[Path] | None, Argument(help="rollout archives; none: an imaginary task")
    ] = None,
    splits: Annotated[int, Option(min=2, help="for every number of rollouts")] = 300,
    alpha: Annotated[float, Option(above=0, below=1, help="of the check")] = 0.1,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure the outcome check."""
    cells = []
    for path in archives or [None]:
        source: Source = Drawn(IMAGINARY_TASK) if path is None else Archived(path)
        failed = (
            [] if path is None else [r for r in read_rollouts([path]).rollouts if not r.success]
        )
        first = source.split(NUMBERS[0], 0)[0][0]
        for title, names in PARTS.items():
            if first.positions is None and "positions" in names:
                names = tuple(name for name in names if name != "positions")
            if not names:
                continue
            for n in NUMBERS:
                cells.append(_cell(source, failed, title, names, n, alpha, splits))
    console.print(_table(cells, alpha))
    if results is not None:
        results.write_text(json.dumps([asdict(cell) for cell in cells], indent=2) + "\n")


def _cell(
    source: Source,
    failed: list[Rollout],
    title: str,
    names: tuple[str, ...],
    n: int,
    alpha: float,
    splits: int,
) -> Cell:
    doubted, found, times = [], [], []
    for index in range(splits):
        random = np.random.default_rng(index)
        rollouts, tests = source.split(n, index)
        folds = deal([""] * n, min(USUAL_FOLDS, n), index)
        settings = EndSettings(alpha, names)
        rollouts = [_without_task(rollout) for rollout in rollouts]
        check = fit_outcome_check(rollouts, folds, source.policy, settings)
        claims = [
            failure.beginning(len(rollouts[random.integers(n)]))
            for failure in failed[:: max(1, len(failed) // TESTS)]
        ]
        doubted.append(_share_doubted(check, tests[:TESTS], times))
        found.append(_share_doubted(check, claims, times))
    return Cell(
        source=source.title,
        parts=title,
        n=n,
        exact=(n + 1 - rank(n, alpha)) / (n + 1),
        doubted=float(np.mean(doubted)),
        standard_error=float(np.std(doubted, ddof=1) / np.sqrt(splits)),
        found=float(np.mean(found)) if failed else None,
        splits=splits,
        milliseconds=1e3 * float(np.quantile(times, 0.99)),
    )


def _without_task(rollout: Rollout) -> Rollout:
    return replace(rollout, task="")


def _share_doubted(check: OutcomeCheck, rollouts: list[Rollout], times: list[float]) -> float:
    words = []
    for rollout in rollouts:
        end = RolloutEnd.of_rollout(rollout)
        assert end is not None
        before = time.perf_counter()
        words.append(check.check(end).word)
        times.append(time.perf_counter() - before)
    assert OutcomeWord.NOT_JUDGED not in words
    return float(np.mean([word is OutcomeWord.DOUBTFUL for word in words])) if words else np.nan


def _table(cells: list[Cell], alpha: float) -> Table:
    table = Table(
        title=f"The outcome check, alpha {alpha:g}", title_justify="left", box=SIMPLE_HEAD
    )
    for column in (
        *("source", "compared", "calibration\nrollouts", "ranks\nallow"),
        *("true successes\ndoubted", "false ones\nfound", "p99 [ms]"),
    ):
        table.add_column(column, justify="left" if column in ("source", "compared") else "right")
    for cell in cells:
        mark = " " if cell.doubted <= alpha + 2 * cell.standard_error else "!"
        table.add_row(
            cell.source,
            cell.parts,
            str(cell.n),
            f"{cell.exact:.3f}",
            f"{cell.doubted:.3f}±{cell.standard_error:.3f}{mark}",
            "–" if cell.found is None else f"{cell.found:.2f}",
            f"{cell.milliseconds:.1f}",
        )
    return table


if __name__ == "__main__":
    run_alone(main)
