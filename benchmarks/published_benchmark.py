# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Our rules and scores beside the baselines of the literature, on rollouts that anybody can have.

python benchmarks/published_benchmark.py: on the rollouts that are shipped in published/rollouts/.
python benchmarks/published_benchmark.py data/*/rollouts: on those that FIPER's authors publish, or
on any sources that set rollouts apart for calibration; one of each task.

Every method gets its threshold by the same conformal calibration. An interval says how far a
figure depends on which rollouts were tested on; docs/published_benchmark.md explains all of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from benchmark_parts import one_thread

# isort: split
import numpy as np
from benchmark_parts.scored_archives import ScoredArchive, score_rollouts
from published.figures import (
    FIGURES,
    Draws,
    Estimate,
    draw_again,
    estimate,
    exact,
    false_alarms,
    figures_of,
    mean_of,
)
from published.methods import DEFAULT, METHODS, Found, compare, scores_of
from published.safe import halves
from published.shipped import shipped_archives
from published.tables import LEAD, markdown
from rich.console import Console

from failure_monitor.calibration.chosen_rollouts import choose
from failure_monitor.calibration.settings import USUAL_FOLDS
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.errors import UsageError
from failure_monitor.evaluation.metrics import IN_DISTRIBUTION_GROUPS
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.thresholds.conformal import rank

assert one_thread
progress = Console(stderr=True)

LEAD_PREFIX = "lead_"


@dataclass(frozen=True, eq=False)
class Measured:
    """What a method reaches on the tests of a task, in one dealing.

    Attributes:
        draws: every figure, of all draws.
        false_alarms: undisturbed successes with an alarm, and all of them.
    """

    draws: Draws
    false_alarms: tuple[int, int]

    def estimates(self) -> dict[str, Estimate]:
        """Return every figure with its interval."""
        figures = {key: estimate(values) for key, values in self.draws.items()}
        return figures | {"false_alarm_rate": exact(*self.false_alarms)}


def main(
    sources: Annotated[
        list[Path] | None,
        Argument(help="rollouts of one task each; default: those that are shipped"),
    ] = None,
    alpha: Annotated[float, Option(above=0, below=1, help="the promised false-alarm rate")] = 0.1,
    dealings: Annotated[int, Option(min=1, help="dealings into folds and halves")] = 3,
    draws: Annotated[int, Option(min=2, help="of the tests, for the intervals")] = 1000,
    networks: Annotated[bool, Option(help="scores that are trained")] = True,
    jobs: Annotated[int, Option(min=1, help="processes that fit at a time")] = 1,
    results_file: Annotated[
        Path | None, Option("--json", help="write the figures here", writes="file")
    ] = None,
    markdown_file: Annotated[
        Path | None, Option("--markdown", help="write the tables here", writes="file")
    ] = None,
) -> None:
    """Compare all methods."""
    tasks = {task_name(path): path for path in sources or shipped_archives()}
    if len(tasks) < len(sources or ()):
        raise UsageError("two sources are of one name: give each task once")
    measured: dict[str, list[dict[str, Measured]]] = {}
    counts, missing = {}, {}
    for place, (task, path) in enumerate(tasks.items()):
        rollout_set = read_rollouts([path])
        check(path, rollout_set, alpha)
        measured[task] = []
        for seed in range(dealings):
            scored = score_rollouts(
                task,
                rollout_set,
                scores_of(rollout_set, networks=networks),
                seed=seed,
                folds=min(USUAL_FOLDS, len(choose(rollout_set.rollouts)[0])),
                jobs=jobs,
                report=lambda step: progress.print(step, markup=False),
            )
            found = compare(scored, rollout_set, alpha=alpha, seed=seed)
            measured[task].append(measure(found, draws, seed=place))
        counts[task] = counted(scored)
        missing[task] = found.missing
    results = {
        "alpha": alpha,
        "dealings": dealings,
        "draws": draws,
        "tasks": counts,
        "methods": methods_of(measured),
        "missing": missing,
    }
    text = json.dumps(_rounded(results)) + "\n"
    tables = markdown(json.loads(text))
    print(tables)
    for task, reasons in missing.items():
        for method, reason in reasons.items():
            progress.print(f"{task}: no {method}: {reason}", markup=False)
    if results_file is not None:
        results_file.write_text(text)
    if markdown_file is not None:
        markdown_file.write_text(tables)


def task_name(path: Path) -> str:
    """Return the name of an archive or of a folder, in FIPER's layout of the folder above."""
    resolved = path.resolve()
    named = resolved.parent if resolved.name == "rollouts" else resolved
    return named.stem if named.suffix == ".npz" else named.name


def check(path: Path, rollout_set: RolloutSet, alpha: float) -> None:
    """Reject rollouts that cannot be calibrated or tested on.

    Raises:
        UsageError: none is set apart for tests, the outcome of one is unknown, or all have one.
        CalibrationError: those set apart for calibration are too few for alpha.
    """
    tests = [rollout for rollout in rollout_set.rollouts if rollout.calibration is False]
    unknown = [rollout.name for rollout in tests if rollout.success is None]
    if not tests or unknown:
        what = f"the outcome of {', '.join(unknown[:3])} is" if unknown else "no test rollouts are"
        raise UsageError(
            f"{path}: {what} {'unknown' if unknown else 'there'}: give rollouts of which some are "
            "set apart for calibration and the outcome of all others is known, as FIPER publishes "
            "them"
        )
    for success, word in ((True, "succeeded"), (False, "failed")):
        if all(rollout.success is not success for rollout in tests):
            raise UsageError(
                f"{path}: none of {len(tests)} test rollouts {word}: give tests of both outcomes, "
                "which methods are to tell apart"
            )
    rank(len(choose(rollout_set.rollouts)[0]), alpha)


def counted(scored: ScoredArchive) -> dict[str, float]:
    """Return what a task consists of."""
    tests = scored.tests
    lengths = [len(values) for values in next(iter(scored.calibration.values()))]
    failed = [not test.success for test in tests]
    undisturbed = [bool(test.success) and test.group in IN_DISTRIBUTION_GROUPS for test in tests]
    return {
        "calibration": len(lengths),
        "tests": len(tests),
        "failures": sum(failed),
        "undisturbed_successes": sum(undisturbed),
        "early_decisions": float(np.median(lengths)),
        "probe_failures": int(np.array(failed)[halves(tests, 0) == 0].sum()),
    }


def measure(found: Found, draws: int, *, seed: int) -> dict[str, Measured]:
    """Return what every method reaches; all on the same draws of the tests."""
    counts = draw_again(len(next(iter(found.results.values()))), draws, seed)
    return {
        method: Measured(figures_of(results, counts), false_alarms(results))
        for method, results in found.results.items()
    }


def methods_of(measured: Mapping[str, Sequence[Mapping[str, Measured]]]) -> dict[str, Any]:
    """Return the figures of every method: their mean over tasks, by task, and by dealing."""
    found = {}
    for method in METHODS:
        by_task = {
            task: [dealing[method].estimates() for dealing in dealings]
            for task, dealings in measured.items()
            if method in dealings[0]
        }
        if by_task:
            means = _means_over_tasks(method, measured)
            found[method] = {
                "mean": _over_dealings(means),
                "tasks": {task: _over_dealings(own) for task, own in by_task.items()},
                "dealings": {"mean": means, **by_task},
            }
    return found


def _means_over_tasks(
    method: str, measured: Mapping[str, Sequence[Mapping[str, Measured]]]
) -> list[dict[str, Estimate]]:
    """Return the means over all tasks, and how far the default rule leads; of each dealing.

    All are undefined where one of the tasks lacks the method: means of other tasks cannot be
    compared.
    """
    of_dealings = []
    for dealing in zip(*measured.values(), strict=True):
        if not all(method in of_task for of_task in dealing):
            of_dealings.append(dict.fromkeys((*FIGURES, *LEAD), (np.nan,) * 3))
            continue
        own, default = _mean_draws(method, dealing), _mean_draws(DEFAULT, dealing)
        events, trials = np.sum([each[method].false_alarms for each in dealing], axis=0).tolist()
        figures = {key: estimate(values) for key, values in own.items()}
        figures["false_alarm_rate"] = (figures["false_alarm_rate"][0], *exact(events, trials)[1:])
        for key in LEAD:
            figure = key.removeprefix(LEAD_PREFIX)
            figures[key] = estimate(default[figure] - own[figure])
        of_dealings.append(figures)
    return of_dealings


def _mean_draws(method: str, dealing: Sequence[Mapping[str, Measured]]) -> Draws:
    """Return the mean over tasks of every figure, of each draw."""
    return {
        key: np.mean([of_task[method].draws[key] for of_task in dealing], axis=0)
        for key in FIGURES
    }


def _over_dealings(dealings: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    return {key: mean_of([dealing[key] for dealing in dealings]) for key in dealings[0]}


def _rounded(value: Any) -> Any:
    """Return what JSON can hold: six decimals, and null for NaN."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


if __name__ == "__main__":
    run_alone(main)
