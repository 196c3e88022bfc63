# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How well scores and rules detect failures, with the elapsed-time control beside them.

python benchmarks/detection.py ARCHIVE...: on rollout archives of several tasks,

- every score alone, the rules of the literature, and the default rule with its ablation: with
  what the joints did, where the archives hold it;
- the default rule task by task, with intervals, and what a threshold that was shown the failures
  would reach;
- what leave-one-task-out choice reaches: scores and window are chosen on all tasks but one, by
  adding to a mean whatever helps most, and measured on the one left out.

Every figure is the mean over the archives and over several dealings of the calibration rollouts
into folds; alarms are calibrated at the same alpha throughout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Annotated

import numpy as np
from benchmark_parts.scored_archives import RuleOf, ScoredArchive, of_all, score_archive
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.calibration.settings import USUAL_FOLDS
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.evaluation.metrics import Metrics
from failure_monitor.scores.base.network_score import NetworkScore
from failure_monitor.scores.registry import DEFAULT_SCORES, JOINT_SCORES, SCORES, score_named
from failure_monitor.thresholds import conformal
from failure_monitor.thresholds.conformal import CalibrationError

FIGURES = (
    "early_balanced_accuracy",
    "early_auroc",
    "early_tpr",
    "early_tnr",
    "balanced_accuracy",
    "twa",
    "false_alarm_rate",
)
HEADINGS = ("early bal. acc.", "early AUROC", "early TPR", "early TNR", "bal. acc.", "TWA", "FA")
WINDOWS = (1, 3, 5, 9)
WINDOW = 3
MAX_SCORES = 6
CONTROL = "elapsed_time"
DRAWS = 200

console = Console(width=150)
progress = Console(stderr=True)

Dealings = Mapping[str, Sequence[ScoredArchive]]
"""By archive, its scores under every dealing into folds."""


@dataclass(frozen=True)
class Row:
    """The figures of one rule: the mean over archives, and those of every archive."""

    title: str
    mean: dict[str, float]
    by_archive: dict[str, dict[str, float]]


def main(
    archives: Annotated[list[Path], Argument(help="rollout archives, one of each task")],
    alpha: Annotated[float, Option(help="the promised false-alarm rate")] = 0.1,
    dealings: Annotated[int, Option(min=1, help="dealings into folds")] = 3,
    folds: Annotated[int, Option(min=2)] = USUAL_FOLDS,
    jobs: Annotated[int, Option(min=1, help="processes that fit at a time")] = 2,
    networks: Annotated[bool, Option(help="scores that are trained, which takes hours")] = True,
    cache: Annotated[
        Path | None,
        Option(help="a folder to keep scores in; empty it when a score has changed"),
    ] = None,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure every score and rule."""
    # Without a failure to learn from there is no probe: failure_probe.py measures it.
    names = [
        name
        for name in SCORES
        if name != "probe" and (networks or not issubclass(score_named(name), NetworkScore))
    ]
    scored: Dealings = {
        path.stem: [
            score_archive(
                path,
                names,
                seed=seed,
                folds=folds,
                jobs=jobs,
                cache=cache,
                report=lambda step: progress.print(step, markup=False),
            )
            for seed in range(dealings)
        ]
        for path in archives
    }
    parts = {
        "Scores alone": _scores_alone(scored, alpha),
        "Rules": _rules(scored, alpha),
        "Task by task": _by_task(scored, alpha),
        "The default rule, changed": _ablation(scored, alpha),
        "By kind of perturbation, the default rule": _by_group(scored, alpha),
    }
    if len(scored) > 2:
        parts["Chosen on the other tasks"] = _left_out(scored, alpha)
    for title, rows in parts.items():
        console.print(_table(title, rows))
    if results is not None:
        text = json.dumps({part: [asdict(row) for row in rows] for part, rows in parts.items()})
        results.write_text(text + "\n")


def _scores_alone(scored: Dealings, alpha: float) -> list[Row]:
    rows = [
        _row(_alone(name, scored), _with(scored, (name,)), RuleOf((name,), window=WINDOW), alpha)
        for name in SCORES
        if name != CONTROL and _with(scored, (name,))
    ]
    rows.sort(key=lambda row: -row.mean["early_auroc"])
    return [*rows, _control(scored, alpha)]


def _alone(name: str, scored: Dealings) -> str:
    """Return a score's title, with the number of archives on which it means something."""
    there = len(_with(scored, (name,)))
    return name if there == len(scored) else f"{name} ({there} of {len(scored)})"


def _rules(scored: Dealings, alpha: float) -> list[Row]:
    literature, default = ("rnd_oe", "ace", "stac"), _default(scored)
    rules = {
        "default": RuleOf(default),
        "default, without joints": RuleOf(DEFAULT_SCORES),
        "fiper: all of rnd_oe, ace": RuleOf(("rnd_oe", "ace"), "all"),
        "the same, window 5": RuleOf(("rnd_oe", "ace"), "all", 5),
        "the same, window 9": RuleOf(("rnd_oe", "ace"), "all", 9),
        "mean of rnd_oe, ace": RuleOf(("rnd_oe", "ace")),
        "mean of rnd_oe, ace, stac": RuleOf(literature),
        "any of rnd_oe, ace, stac": RuleOf(literature, "any"),
        "any of rnd_oe, stac": RuleOf(("rnd_oe", "stac"), "any"),
        "mean of phase_knn, one_step, lag, rnd_oe": RuleOf(
            ("phase_knn", "one_step", "lag", "rnd_oe")
        ),
        "any of the default's scores": RuleOf(default, "any"),
        "all of the default's scores": RuleOf(default, "all"),
        "mean of all scores": RuleOf(tuple(_everywhere(scored))),
    }
    there = set(_everywhere(scored))
    rows = [
        _row(title, scored, rule, alpha)
        for title, rule in rules.items()
        if set(rule.scores) <= there
    ]
    return [*rows, _control(scored, alpha)]


def _ablation(scored: Dealings, alpha: float) -> list[Row]:
    default = _default(scored)
    rows = [_row("default", scored, RuleOf(default), alpha)]
    for left_out in default:
        scores = tuple(name for name in default if name != left_out)
        rows.append(_row(f"without {left_out}", scored, RuleOf(scores), alpha))
    for window in WINDOWS:
        if window != WINDOW:
            rule = RuleOf(default, window=window)
            rows.append(_row(f"window {window}", scored, rule, alpha))
    for ceiling in (2.0, 3.0, 10.0, np.inf):
        with _ceiling(ceiling):
            rows.append(_row(f"ceiling {ceiling:g}", scored, RuleOf(default), alpha))
    for added in _everywhere(scored):
        if added not in default:
            rows.append(_row(f"with {added}", scored, RuleOf((*default, added)), alpha))
    return rows


def _by_task(scored: Dealings, alpha: float) -> list[Row]:
    """Return the default rule on every task, and what bounds it."""
    rows = []
    for name, archives in scored.items():
        alone = {name: archives}
        default = RuleOf(_default(alone))
        rows.append(_row(name, alone, default, alpha))
        if default.scores != DEFAULT_SCORES:
            rows.append(_row("  without joints", alone, RuleOf(DEFAULT_SCORES), alpha))
        low, high = _interval(archives, default, alpha)
        rows.append(Row("  tests drawn again, 5 %", low, {}))
        rows.append(Row("  tests drawn again, 95 %", high, {}))
        rows.append(_figures("  threshold in hindsight", alone, _in_hindsight(default, alpha)))
        rows.append(_control(alone, alpha))
    return rows


def _interval(
    archives: Sequence[ScoredArchive], rule: RuleOf, alpha: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the 5 and 95 % quantiles of the figures, tests drawn again with replacement."""
    random = np.random.default_rng(0)
    of_dealings = [archive.results(rule, alpha) for archive in archives]
    drawn = []
    for _ in range(DRAWS):
        places = random.integers(len(of_dealings[0]), size=len(of_dealings[0]))
        found = [of_all([results[place] for place in places]) for results in of_dealings]
        drawn.append([_mean(getattr(metrics, key) for metrics in found) for key in FIGURES])
    quantiles = np.nanquantile(np.array(drawn), [0.05, 0.95], axis=0).tolist()
    return dict(zip(FIGURES, quantiles[0], strict=True)), dict(
        zip(FIGURES, quantiles[1], strict=True)
    )


def _in_hindsight(rule: RuleOf, alpha: float) -> Callable[[ScoredArchive], Metrics]:
    """Return the figures with the threshold that tells these tests apart best."""

    def best(archive: ScoredArchive) -> Metrics:
        results = archive.results(rule, alpha)
        return max(
            (
                of_all([replace(each, levels=each.levels / limit) for each in results])
                for limit in np.unique([each.early_max_level for each in results])
                if limit > 0
            ),
            key=lambda metrics: metrics.early_balanced_accuracy or 0.0,
        )

    return best


def _left_out(scored: Dealings, alpha: float) -> list[Row]:
    """Return for every task what scores and window reach that were chosen on the others."""
    rows = []
    for name, archives in scored.items():
        others = {other: scored[other] for other in scored if other != name}
        chosen = _choose(others, alpha)
        rows.append(_row(f"{name}: {chosen}", {name: archives}, chosen, alpha))
    figures = {key: mean(row.mean[key] for row in rows) for key in FIGURES}
    return [*rows, Row("mean of these", figures, {})]


def _choose(scored: Dealings, alpha: float) -> RuleOf:
    """Add to a mean whatever helps most, until nothing does."""
    names = _everywhere(scored)

    def worth(rule: RuleOf) -> float:
        row = _row("", scored, rule, alpha)
        return row.mean["early_balanced_accuracy"] + row.mean["early_auroc"]

    best, best_worth = None, -np.inf
    while best is None or len(best.scores) < MAX_SCORES:
        taken = () if best is None else best.scores
        windows = WINDOWS if best is None else (best.window,)
        candidates = [
            RuleOf((*taken, name), window=window)
            for name in names
            if name not in taken
            for window in windows
        ]
        candidate = max(candidates, key=worth)
        if worth(candidate) <= best_worth:
            break
        best, best_worth = candidate, worth(candidate)
    assert best is not None
    return max((RuleOf(best.scores, window=window) for window in WINDOWS), key=worth)


def _by_group(scored: Dealings, alpha: float) -> list[Row]:
    rule = RuleOf(_default(scored))
    groups = sorted({test.group for archives in scored.values() for test in archives[0].tests})
    return [
        _figures(
            group,
            scored,
            lambda archive, group=group: archive.measure(rule, alpha)[1].get(group),
        )
        for group in groups
    ]


def _row(title: str, scored: Dealings, rule: RuleOf, alpha: float) -> Row:
    try:
        return _figures(title, scored, lambda archive: archive.measure(rule, alpha)[0])
    except CalibrationError:
        # Such as of `all` of scores that are never raised together.
        return Row(f"{title} (no threshold)", dict.fromkeys(FIGURES, np.nan), {})


def _control(scored: Dealings, alpha: float) -> Row:
    return _figures("elapsed time (control)", scored, lambda archive: archive.control(alpha)[0])


def _figures(
    title: str, scored: Dealings, measure: Callable[[ScoredArchive], Metrics | None]
) -> Row:
    by_archive = {}
    for name, archives in scored.items():
        found = [metrics for metrics in map(measure, archives) if metrics is not None]
        by_archive[name] = {
            key: _mean(getattr(metrics, key) for metrics in found) for key in FIGURES
        }
    return Row(
        title,
        {key: _mean(figures[key] for figures in by_archive.values()) for key in FIGURES},
        by_archive,
    )


def _mean(values: Iterator[float | None]) -> float:
    """NaN where there is nothing to take the mean of."""
    defined = [value for value in values if value is not None and not np.isnan(value)]
    return mean(defined) if defined else np.nan


def _everywhere(scored: Dealings) -> list[str]:
    """Return the scores that mean something on every archive, without the control."""
    return [
        name
        for name in SCORES
        if name != CONTROL
        and all(name in archive.calibration for each in scored.values() for archive in each)
    ]


def _default(scored: Dealings) -> tuple[str, ...]:
    """Return the scores of the default rule for what these archives hold."""
    there = _everywhere(scored)
    return (*DEFAULT_SCORES, *(name for name in JOINT_SCORES if name in there))


def _with(scored: Dealings, scores: tuple[str, ...]) -> Dealings:
    """Return the archives on which these scores mean something."""
    return {
        name: archives
        for name, archives in scored.items()
        if all(score in archives[0].calibration for score in scores)
    }


@contextmanager
def _ceiling(value: float) -> Iterator[None]:
    kept = conformal.CEILING
    conformal.CEILING = value
    try:
        yield
    finally:
        conformal.CEILING = kept


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for row in rows:
        cells = ("–" if np.isnan(row.mean[key]) else f"{row.mean[key]:.3f}" for key in FIGURES)
        table.add_row(row.title, *cells)
    return table


if __name__ == "__main__":
    run_alone(main)
