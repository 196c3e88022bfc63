# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the promised false-alarm rate holds, of every score and rule.

python benchmarks/coverage.py: successful rollouts of an imaginary task, drawn again for each
split. python benchmarks/coverage.py ARCHIVE...: the successful undisturbed rollouts of each
archive, of calibration and test together, dealt at random again and again.

Of each split some rollouts calibrate and the others show how often the alarm is false, in two
ways:

- cross-fitted, as `failure-monitor calibrate` does it: all scores are fitted again for each split;
- fitted apart, as with `--fit`: scores are fitted on other rollouts, a few times, and many splits
  of the remaining rollouts calibrate these.

Every cell is the mean rate over splits and its standard error. Splits are independent: of the
imaginary task as drawn, and of an archive given its rollouts, given which the promise holds too,
for it asks no more than that rollouts are dealt at random. Scores that are trained cost seconds
for a split, so that fewer splits are cross-fitted for them.

The row 'default, wrongly' breaks the promise on purpose: it is the default rule, calibrated on
what its scores were fitted on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, TypeVar

from benchmark_parts import one_thread

# isort: split
import numpy as np
from benchmark_parts.exchangeable_rollouts import Archived, Drawn, Source
from benchmark_parts.false_alarm_rates import (
    ALPHAS,
    DEFAULT_RULE,
    WRONG,
    MeasuredRule,
    Rates,
    ScoredSplit,
    cross_fitted_rates,
    measured_rules,
    rates_fitted_apart,
)
from benchmark_parts.synthetic_task import SyntheticTask
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.calibration.settings import USUAL_FOLDS
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.errors import UsageError
from failure_monitor.scores.base.network_score import NetworkScore
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.registry import score_named
from failure_monitor.thresholds.conformal import CalibrationError, rank

assert one_thread
NUMBERS = (10, 20, 40)
FITTED_APART = "scores fitted on other rollouts"
IMAGINARY_TASK = SyntheticTask.of_size(
    embedding=12, samples=16, horizon=8, actions=3, decisions=20
)

console = Console(width=140)
progress = Console(stderr=True)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Cell:
    """The false-alarm rate of a rule.

    Attributes:
        rule: its title.
        scores: its scores.
        n: calibration rollouts.
        alpha: what was promised.
        exact: the rate of an exact procedure, as ranks are whole numbers; at most alpha.
        rate: what was found, the mean over splits.
        standard_error: of the mean.
        splits: how many.
        rejected: Share of splits that could not be calibrated; they raise no false alarm either.
    """

    rule: str
    scores: tuple[str, ...]
    n: int
    alpha: float
    exact: float
    rate: float
    standard_error: float
    splits: int
    rejected: float

    @property
    def is_kept(self) -> bool:
        """Whether the promise is, within two standard errors."""
        return self.rate <= self.alpha + 2 * self.standard_error


def main(
    archives: Annotated[
        list[Path] | None, Argument(help="rollout archives; none: an imaginary task")
    ] = None,
    splits: Annotated[int, Option(min=2, help="for every number of rollouts")] = 500,
    trained_splits: Annotated[
        int, Option(min=0, help="cross-fitted splits for scores that are trained")
    ] = 50,
    fittings: Annotated[
        int, Option(min=0, help="times that scores are fitted apart from what calibrates")
    ] = 20,
    folds: Annotated[
        int, Option(min=2, help="of the cross-fitting; as many as rollouts at most")
    ] = USUAL_FOLDS,
    only: Annotated[
        list[str] | None, Option(help="a row to measure (may be given more than once)")
    ] = None,
    quick: Annotated[bool, Option(help="20 splits, nothing trained but once")] = False,
    jobs: Annotated[int, Option(min=1, help="processes")] = 2,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure the false-alarm rates."""
    if quick:
        splits, trained_splits, fittings = 20, 0, 1
    sources: list[Source] = [Archived(path) for path in archives or []] or [Drawn(IMAGINARY_TASK)]
    chosen = [rule for rule in measured_rules() if not only or rule.title in only]
    if not chosen:
        titles = ", ".join(rule.title for rule in measured_rules())
        raise UsageError(f"there are no such rows: choose among {titles}")
    figures: list[dict[str, object]] = []
    for source in sources:
        rules = _defined(source, chosen)
        trained = [rule for rule in rules if rule.is_trained]
        others = [rule for rule in rules if not rule.is_trained]
        cells = _cross_fitted(source, others, splits, folds, jobs)
        cells += _cross_fitted(source, trained, trained_splits, folds, jobs)
        figures += _report(source, f"cross-fitted, {folds} folds", cells)
        figures += _report(
            source, FITTED_APART, _fitted_apart(source, rules, splits, fittings, jobs)
        )
    if results is not None:
        results.write_text(json.dumps(figures, indent=2) + "\n")


def _report(source: Source, title: str, cells: Sequence[Cell]) -> list[dict[str, object]]:
    """Print the cells, and return them as they are written."""
    if cells:
        console.print(_table(f"{source.title}; {title}", cells))
        _print_in_words(cells)
    return [{"source": source.title, "calibration": title} | asdict(cell) for cell in cells]


def _defined(source: Source, rules: Sequence[MeasuredRule]) -> list[MeasuredRule]:
    """Return the rules whose scores mean something for the source's policy."""
    rollouts, _ = source.split(max(NUMBERS), 0)
    defined = set()
    for name in dict.fromkeys(name for rule in rules for name in rule.scores):
        score = score_named(name)
        try:
            if not issubclass(score, NetworkScore):
                score.fit(rollouts, source.policy)
        except ScoreUndefinedError as error:
            progress.print(f"{source.title}: without {error}", markup=False, soft_wrap=True)
        else:
            defined.add(name)
    return [rule for rule in rules if defined.issuperset(rule.scores)]


def _cross_fitted(
    source: Source, rules: Sequence[MeasuredRule], splits: int, folds: int, jobs: int
) -> list[Cell]:
    places = [(n, index) for index in range(splits) for n in NUMBERS]
    run = partial(_cross_fitted_split, source=source, rules=rules, folds=folds)
    if not (rules and places):
        return []
    found = dict(
        zip(places, _run(run, places, jobs, f"{source.title}, cross-fitted"), strict=True)
    )
    return _cells(rules, {n: [found[n, index] for index in range(splits)] for n in NUMBERS})


def _cross_fitted_split(
    place: tuple[int, int], *, source: Source, rules: Sequence[MeasuredRule], folds: int
) -> Rates:
    rollouts, tests = source.split(*place)
    return cross_fitted_rates(rollouts, tests, source.policy, rules, folds)


def _fitted_apart(
    source: Source, rules: Sequence[MeasuredRule], splits: int, fittings: int, jobs: int
) -> list[Cell]:
    honest = [rule for rule in rules if not rule.on_fitting_rollouts]
    each = -(-splits // max(fittings, 1))
    run = partial(_splits_of_a_fitting, source=source, rules=honest, splits=each)
    found = list(_run(run, range(fittings), jobs, f"{source.title}, fitted apart"))
    if not found:
        return []
    by_n = {n: [rates for of_fitting in found for rates in of_fitting[n]] for n in NUMBERS}
    return _cells(honest, by_n)


def _splits_of_a_fitting(
    index: int, *, source: Source, rules: Sequence[MeasuredRule], splits: int
) -> dict[int, list[Rates]]:
    teachers, others = source.fitting_and_others(index)
    split = ScoredSplit.of(teachers, others, source.policy, rules)
    random = np.random.default_rng(index)
    rates: dict[int, list[Rates]] = {}
    for n in NUMBERS:
        orders = [random.permutation(len(others)) for _ in range(splits)]
        rates[n] = [rates_fitted_apart(split, order[:n], order[n:], rules) for order in orders]
    return rates


def _run(
    work: Callable[[Item], Result], items: Sequence[Item], jobs: int, title: str
) -> Iterator[Result]:
    """Yield the results in order, computed by so many processes."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as workers:
        for done, result in enumerate(workers.map(work, items), start=1):
            if done * 10 // len(items) > (done - 1) * 10 // len(items):
                progress.print(f"{title}: {done} of {len(items)}", markup=False, highlight=False)
            yield result


def _cells(rules: Sequence[MeasuredRule], found: dict[int, list[Rates]]) -> list[Cell]:
    """Return a cell of every rule, number of rollouts and alpha that the number can support."""
    cells = []
    for n, splits in found.items():
        for column, alpha in enumerate(ALPHAS):
            try:
                exact = (n + 1 - rank(n, alpha)) / (n + 1)
            except CalibrationError:
                continue
            for row, rule in enumerate(rules):
                rates = np.array([split[row, column] for split in splits])
                counted = np.nan_to_num(rates)
                error = counted.std(ddof=1) / np.sqrt(len(counted))
                cells.append(
                    Cell(
                        rule=rule.title,
                        scores=rule.scores,
                        n=n,
                        alpha=alpha,
                        exact=exact,
                        rate=float(counted.mean()),
                        standard_error=float(error),
                        splits=len(counted),
                        rejected=float(np.isnan(rates).mean()),
                    )
                )
    return cells


def _table(title: str, cells: Sequence[Cell]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("calibration rollouts\npromised rate", no_wrap=True)
    places = [(n, alpha) for n in NUMBERS for alpha in ALPHAS]
    for n, alpha in places:
        table.add_column(f"{n}\n{alpha:g}", justify="right", no_wrap=True)
    table.add_column("splits", justify="right")
    table.add_column("rejected", justify="right", no_wrap=True)
    exact = {(cell.n, cell.alpha): _share(cell.exact) + " " * 6 for cell in cells}
    in_head = [exact.get(place, "–") for place in places]
    table.add_row("what ranks allow", *in_head, end_section=True)
    for rule in dict.fromkeys(cell.rule for cell in cells):
        of_rule = {(cell.n, cell.alpha): cell for cell in cells if cell.rule == rule}
        rejected = max(cell.rejected for cell in of_rule.values())
        table.add_row(
            rule,
            *(_in_table(of_rule.get(place)) for place in places),
            str(min(cell.splits for cell in of_rule.values())),
            f"≤ {100 * rejected:.0f} %" if rejected else "",
        )
    return table


def _in_table(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    mark = " " if cell.is_kept else "!"
    return f"{_share(cell.rate)}±{_share(cell.standard_error)}{mark}"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _print_in_words(cells: Sequence[Cell]) -> None:
    honest = [cell for cell in cells if cell.rule != WRONG]
    broken = [cell for cell in honest if not cell.is_kept]
    lines = [
        f"{len(broken)} of {len(honest)} rates exceed what was promised by more than two standard "
        "errors (!)",
    ]
    lines += [
        f"  {cell.rule}, {cell.n} rollouts: {cell.rate:.3f} instead of {cell.alpha:g}"
        for cell in broken
    ]
    wrong = [cell for cell in cells if cell.rule == WRONG]
    if wrong:
        count = sum(not cell.is_kept for cell in wrong)
        lines.append(f"the rule that breaks the promise on purpose: {count} of {len(wrong)}")
    shares = [cell.rate / cell.exact for cell in honest if cell.rule == DEFAULT_RULE]
    if shares:
        lines.append(
            f"the default rule reaches {min(shares):.0%} to {max(shares):.0%} of what ranks allow"
        )
    for n in NUMBERS:
        for alpha in ALPHAS:
            try:
                rank(n, alpha)
            except CalibrationError as error:
                lines.append(f"–: {error}")
    console.print("\n".join(lines) + "\n", markup=False, highlight=False)


if __name__ == "__main__":
    run_alone(main)
