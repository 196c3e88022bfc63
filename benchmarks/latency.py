# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What it takes to score one decision, on one thread.

python benchmarks/latency.py: the median and the 99th percentile of every score's `update` and of
the default rule's `FailureMonitor.update`, beside a plain numpy version of the same formula
(textbook_scores.py) that is given the same decisions in the same run, and the largest difference
between what the two say. Times are of the processor, which other programs do not lengthen by
having their turn; the median by the clock is beside them. Then the memory of the default rule over
many decisions of one rollout that never ends.

Scores are timed with one model. So is the default rule as `calibrate --fit` makes it, and then
with the models of ten folds, as `calibrate` makes it: the package computes what these have in
common once; both with the scores of joints, and without. The textbook computes every model by
itself, and per model every score by itself: mean and deviation over the samples, standardisation,
the distances to all that is remembered (of the phase), sorted, random features, regression,
residual; window, scale, rule and level. It is double precision, without checks of the decision.
So that the ratio is not that of ten models to one, the lines below a table divide the textbook's
time for one model by the package's for ten.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
import psutil
from benchmark_parts.synthetic_task import SyntheticTask
from benchmark_parts.textbook_scores import FORMULAS, Past, textbook, textbook_of_folds
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.monitoring.monitor import FailureMonitor
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.thresholds.conformal import CEILING

assert one_thread
FITTING_ROLLOUTS, CALIBRATION_ROLLOUTS, TEST_ROLLOUTS = 50, 20, 5
DECISIONS, HORIZON, ACTIONS = 40, 16, 7
SIZES = ((64, 64), (256, 64), (1, 512), (256, 512))
"""B and E."""
RULE_SIZES = ((4, 512), (16, 512), (64, 512))
"""Likewise, of the rule alone."""
FOLDS = 10
TARGET_US = 1000.0
"""Of the default rule, at the largest sizes."""
WARM_UP = 5000
"""Decisions before memory is measured for the first time."""
SMALLEST_SCORE = 1e-3
"""Differences of smaller scores are relative to it."""
WITHOUT_JOINTS = ", no joints"
DEFAULT_RULE, ONE_MODEL = f"default rule, {FOLDS} folds", "default rule, one model"

console = Console(width=110)
progress = Console(stderr=True)


@dataclass(frozen=True)
class Row:
    """Microseconds for a decision.

    Attributes:
        name: of a score, or the default rule.
        samples: B.
        embedding_size: E.
        median_us: of the package, processor time.
        p99_us: likewise.
        clock_us: of the package, the median by the clock.
        textbook_us: the textbook's median, processor time.
        difference: between the two, the largest relative to the score.
    """

    name: str
    samples: int
    embedding_size: int
    median_us: float
    p99_us: float
    clock_us: float
    textbook_us: float
    difference: float

    @property
    def ratio(self) -> float:
        """How many times as long the textbook takes."""
        return self.textbook_us / self.median_us


@dataclass(frozen=True)
class Memory:
    """Of the default rule's process, in bytes, after the warm-up and at the end."""

    decisions: int
    traced_before: int
    traced_after: int
    resident_before: int
    resident_after: int


class Stopwatch:
    """Notes how many microseconds each of its contexts took."""

    def __init__(self) -> None:
        self.processor_us: list[float] = []
        self.clock_us: list[float] = []

    def __enter__(self) -> None:
        self._began = time.perf_counter_ns(), time.thread_time_ns()

    def __exit__(self, *exception: object) -> None:
        processor, clock = time.thread_time_ns(), time.perf_counter_ns()
        self.clock_us.append((clock - self._began[0]) / 1e3)
        self.processor_us.append((processor - self._began[1]) / 1e3)


def main(
    quick: Annotated[bool, Option(help="smallest and largest sizes, 40 decisions")] = False,
    endless: Annotated[int, Option(help="decisions of the rollout that never ends")] = 100_000,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Time every score and the default rule, and watch the memory of the latter."""
    rows = []
    sizes = SIZES[::3] if quick else sorted({*SIZES, *RULE_SIZES}, key=lambda size: size[::-1])
    for samples, embedding_size in sizes:
        task = SyntheticTask.of_size(
            embedding=embedding_size,
            samples=samples,
            horizon=HORIZON,
            actions=ACTIONS,
            decisions=DECISIONS,
        )
        progress.print(f"B {samples}, E {embedding_size}")
        rollouts = task.rollouts(range(FITTING_ROLLOUTS))
        tests = task.rollouts(range(1000, 1000 + (1 if quick else TEST_ROLLOUTS)))
        others = task.rollouts(range(2000, 2000 + CALIBRATION_ROLLOUTS))
        of_size = []
        if (samples, embedding_size) in SIZES:
            of_size += _time_scores(rollouts, tests, task)
        said = []
        for which, known in ((WITHOUT_JOINTS, _without_joints), ("", list)):
            of_one, of_folds, bundle = _time_rules(
                which, task.policy, known(rollouts), known(others), tests
            )
            of_size += [of_one, of_folds]
            said.append(
                f"the textbook takes {of_one.textbook_us / of_folds.median_us:.1f} times as long "
                f"for one model as the package for {FOLDS}{which}"
            )
        console.print(_table(of_size))
        console.print("\n".join(said), highlight=False)
        rows += of_size
    memory = _watch_memory(bundle, tests, endless // 10 if quick else endless)
    console.print(_memory_in_words(memory), highlight=False)
    verdict = "meets" if rows[-1].median_us <= TARGET_US else "MISSES"
    console.print(
        f"the default rule {verdict} its target of {TARGET_US:g} µs at B {rows[-1].samples}, "
        f"E {rows[-1].embedding_size}: {rows[-1].median_us:.0f} µs, by the clock "
        f"{rows[-1].clock_us:.0f} µs",
        highlight=False,
    )
    if results is not None:
        figures = {
            "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
            "memory": asdict(memory),
        }
        results.write_text(json.dumps(figures, indent=2) + "\n")


def _without_joints(rollouts: Sequence[Rollout]) -> list[Rollout]:
    return [replace(rollout, joints=None) for rollout in rollouts]


def _time_rules(
    which: str,
    policy: PolicyFormat,
    rollouts: Sequence[Rollout],
    others: Sequence[Rollout],
    tests: Sequence[Rollout],
) -> tuple[Row, Row, Bundle]:
    """Time the rule of one model, and that of all folds, which is returned too."""
    settings = CalibrationSettings(
        scores=choose_rule(rollouts, policy).scores, folds=FOLDS, jobs=1
    )
    one = calibrate(others, policy, settings, fit_rollouts=rollouts)
    bundle = calibrate(rollouts, policy, settings)
    return (
        _time_rule(ONE_MODEL + which, one, tests),
        _time_rule(DEFAULT_RULE + which, bundle, tests),
        bundle,
    )


def _time_scores(
    rollouts: Sequence[Rollout], tests: Sequence[Rollout], task: SyntheticTask
) -> Iterator[Row]:
    for name in FORMULAS:
        try:
            score = fit_score(name, rollouts, task.policy, seed=0)
        except ScoreUndefinedError:
            continue
        formula = textbook(score, task.policy)
        yield _row(name, tests, score.start_rollout, score.update, lambda formula=formula: formula)


def _time_rule(name: str, bundle: Bundle, tests: Sequence[Rollout]) -> Row:
    monitor = bundle.monitor()
    return _row(
        name,
        tests,
        monitor.start_rollout,
        lambda decision: monitor.update(decision).level,
        lambda: _textbook_rule(bundle),
    )


def _row(
    name: str,
    tests: Sequence[Rollout],
    start_rollout: Callable[[], None],
    update: Callable[[Decision], float],
    start_textbook: Callable[[], Callable[[Past], float]],
) -> Row:
    """Give the decisions of the tests to both forms, one after the other."""
    values, expected = [], []
    took, textbook_took = Stopwatch(), Stopwatch()
    for test in tests:
        decisions = list(test.decisions())
        start_rollout()
        for decision in decisions:
            with took:
                value = update(decision)
            values.append(value)
        formula = start_textbook()
        for index in range(len(decisions)):
            past = decisions[: index + 1]
            with textbook_took:
                value = formula(past)
            expected.append(value)
    apart = np.abs(np.subtract(values, expected)) / np.maximum(np.abs(expected), SMALLEST_SCORE)
    if (np.isnan(values) != np.isnan(expected)).any():
        apart = np.array([np.inf])
    policy = tests[0].chunks.shape[1], tests[0].embeddings.shape[1]
    return Row(
        name,
        *policy,
        median_us=float(np.median(took.processor_us)),
        p99_us=float(np.quantile(took.processor_us, 0.99)),
        clock_us=float(np.median(took.clock_us)),
        textbook_us=float(np.median(textbook_took.processor_us)),
        difference=float(np.nanmax(apart)),
    )


def _textbook_rule(bundle: Bundle) -> Callable[[Past], float]:
    """Return the level of the rule `mean` by its definition, for one rollout."""
    formulas = [textbook_of_folds(score, bundle.policy) for score in bundle.scores]
    threshold, window = bundle.threshold(), bundle.description.window
    centre, spread = threshold.scale.centre, threshold.scale.spread
    recent: list[NDArray[np.float64]] = []

    def mean(windowed: NDArray[np.float64], fold: int) -> float:
        z = np.minimum((windowed - centre[fold]) / spread[fold], CEILING)
        return float(z[~np.isnan(z)].mean())

    def level(past: Past) -> float:
        recent.append(np.stack([formula(past) for formula in formulas], axis=-1))
        last = np.array(recent[-window:])
        defined = ~np.isnan(last)
        sums, counts = np.where(defined, last, 0).sum(axis=0), defined.sum(axis=0)
        windowed = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        zeros = np.where(np.isnan(windowed), np.nan, 0.0)
        folds = range(len(windowed))
        numbers = np.array([mean(windowed[fold], fold) for fold in folds])[threshold.folds]
        floors = np.array([mean(zeros[fold], fold) for fold in folds])[threshold.folds]
        ratios = np.sort((numbers - floors) / (threshold.limits - floors))
        return float(ratios[len(ratios) - int(threshold.needed)])

    return level


def _watch_memory(bundle: Bundle, tests: Sequence[Rollout], decisions: int) -> Memory:
    progress.print(f"the default rule over {decisions} decisions")
    monitor, process = bundle.monitor(), psutil.Process()
    endless = cycle([decision for test in tests for decision in test.decisions()])
    tracemalloc.start()
    _judge(monitor, endless, WARM_UP)
    traced, resident = tracemalloc.get_traced_memory()[0], process.memory_info().rss
    _judge(monitor, endless, decisions)
    memory = Memory(
        decisions=decisions,
        traced_before=traced,
        traced_after=tracemalloc.get_traced_memory()[0],
        resident_before=resident,
        resident_after=process.memory_info().rss,
    )
    tracemalloc.stop()
    return memory


def _judge(monitor: FailureMonitor, decisions: Iterator[Decision], count: int) -> None:
    for decision in islice(decisions, count):
        monitor.update(decision)


def _memory_in_words(memory: Memory) -> str:
    traced = (memory.traced_after - memory.traced_before) / 1024
    resident = (memory.resident_after - memory.resident_before) / 1024
    return (
        f"over {memory.decisions} decisions of one rollout the default rule's allocated memory "
        f"changed by {traced:+.1f} KiB and the resident memory by {resident:+.0f} KiB, of "
        f"{memory.resident_after / 2**20:.0f} MiB"
    )


def _table(rows: Sequence[Row]) -> Table:
    table = Table(
        title=f"One decision: B {rows[0].samples}, H {HORIZON}, D {ACTIONS}, "
        f"E {rows[0].embedding_size}; µs",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("")
    for heading in (
        "median",
        "p99",
        "by the clock",
        "textbook",
        "textbook / median",
        "difference",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.median_us:.1f}",
            f"{row.p99_us:.1f}",
            f"{row.clock_us:.1f}",
            f"{row.textbook_us:.1f}",
            f"{row.ratio:.2g}",
            f"{row.difference:.0e}",
        )
    return table


if __name__ == "__main__":
    run_alone(main)
