# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What failures teach: the score `probe` against the same scores without any failure.

python benchmarks/failure_probe.py ARCHIVE...: on rollout archives of several tasks, calibration
rollouts calibrate, and the others are split at random, several times: some failures teach, all
other rollouts measure.

- How many failures it takes, and what they bring beyond rules that know none.
- Whether it carries over to a new kind: the failures of every group in turn are measured, while
  those of all other groups teach.
- Whether the false-alarm rate holds: calibration rollouts and undisturbed successes are pooled and
  dealt anew, many times.

Every figure is the mean over splits and then over archives; all rules see the same splits. The
control is a stop-watch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.calibration import cross_fitting
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.chosen_rollouts import choose
from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.evaluation.evaluate import evaluate
from failure_monitor.evaluation.metrics import IN_DISTRIBUTION_GROUPS, Metrics
from failure_monitor.scores.base.score import Score, ScoreState
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts

assert one_thread
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
COUNTS = (5, 10, 20, 40)
FIPER = ("rnd_oe", "ace")
RATE_CALIBRATION, RATE_FAILURES = 20, 20
"""How many rollouts calibrate and teach where the false-alarm rate is measured."""

console = Console(width=150)
progress = Console(stderr=True)


@dataclass(frozen=True)
class Row:
    """The figures of one rule: the mean over archives, and those of every archive."""

    title: str
    mean: dict[str, float]
    by_archive: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Split:
    """Which failures teach, and which rollouts measure."""

    title: str
    teaching: list[Rollout]
    measured: list[Rollout]


class RememberedScore(Score):
    """A fitted score that scores no rollout twice: bundles differ in their failures alone."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._values: dict[str, NDArray[np.float64]] = {}
        self.name, self.first_defined = score.name, score.first_defined

    def update(self, decision: Decision) -> float:
        return self._score.update(decision)

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        if rollout.sha256 not in self._values:
            self._values[rollout.sha256] = self._score.score_rollout(rollout)
        return self._values[rollout.sha256]

    def state(self) -> ScoreState:
        return self._score.state()

    @classmethod
    def from_state(cls, state: ScoreState) -> Score:
        raise NotImplementedError


class RememberedFits:
    """Takes the place of `fit_score`: fits no score twice on the same rollouts."""

    def __init__(self) -> None:
        self._scores: dict[tuple[str, tuple[str, ...]], RememberedScore] = {}

    def __call__(
        self, name: str, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int
    ) -> Score:
        key = name, tuple(rollout.sha256 for rollout in rollouts)
        if key not in self._scores:
            self._scores[key] = RememberedScore(fit_score(name, rollouts, policy, seed))
        return self._scores[key]


def rules(default: tuple[str, ...], alpha: float) -> dict[str, CalibrationSettings]:
    """Return the rules to compare, without failures and with them."""
    settings = CalibrationSettings(scores=default, alpha=alpha, jobs=1)
    with_probe = replace(settings, scores=("probe",), probed_scores=default)
    return {
        "default rule": settings,
        "default rule and probe": replace(settings, scores=(*default, "probe")),
        "probe alone": with_probe,
        "mean of rnd_oe, ace": replace(settings, scores=FIPER),
        "mean of rnd_oe, ace and probe": replace(settings, scores=(*FIPER, "probe")),
        "probe of rnd_oe, ace alone": replace(with_probe, probed_scores=FIPER),
    }


def main(
    archives: Annotated[list[Path], Argument(help="rollout archives, one of each task")],
    alpha: Annotated[float, Option(help="the promised false-alarm rate")] = 0.1,
    splits: Annotated[
        int, Option(min=0, help="random splits of the failures; 0: no detection")
    ] = 10,
    dealings: Annotated[
        int, Option(min=0, help="dealings of each archive's successes for the rate; 0: none")
    ] = 70,
    jobs: Annotated[int, Option(min=1, help="processes")] = 2,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure what failures teach."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as workers:
        rows = []
        if splits:
            found = workers.map(partial(detection, alpha=alpha, splits=splits), archives)
            rows = _rows(dict(zip([path.stem for path in archives], found, strict=True)))
            console.print(_table("Detection, by the number of failures that teach", rows))
        parts = [(path, seed) for path in archives for seed in range(dealings)]
        rates = list(workers.map(partial(false_alarm_rates, alpha=alpha), parts))
    if rates:
        console.print(_rate_table(rates, alpha))
    if results is not None:
        content = {"detection": [asdict(row) for row in rows], "false_alarm_rates": rates}
        results.write_text(json.dumps(content) + "\n")


def detection(path: Path, alpha: float, splits: int) -> dict[str, dict[str, float]]:
    """Return the figures of every rule on one archive, by title, means over splits."""
    rollout_set = read_rollouts([path])
    rollouts = choose(rollout_set.rollouts)[0]
    choice = choose_rule(rollouts, rollout_set.policy)
    default = choice.scores
    for reason in choice.reasons:
        progress.print(f"{path.stem}: {reason}", markup=False)
    cross_fitting.fit_score = RememberedFits()
    found: dict[str, list[dict[str, float]]] = {}
    for split in _splits(rollout_set, splits):
        for title, settings in rules(default, alpha).items():
            teaching = split.teaching if settings.has_probe else []
            bundle = calibrate(rollouts, rollout_set.policy, settings, failures=teaching)
            evaluation = evaluate(bundle, RolloutSet(rollout_set.policy, tuple(split.measured)))
            figures = _figures(evaluation.metrics.overall)
            found.setdefault(f"{split.title}: {title}", []).append(figures)
        control = _figures(evaluation.control.overall)
        found.setdefault(f"{split.title}: elapsed time (control)", []).append(control)
        progress.print(f"{path.stem}: {split.title}", markup=False)
    return {title: _mean_figures(figures) for title, figures in found.items()}


def _splits(rollout_set: RolloutSet, splits: int) -> Iterator[Split]:
    tests = [rollout for rollout in rollout_set.rollouts if not rollout.calibration]
    failed = [rollout for rollout in tests if not rollout.success]
    successes = [rollout for rollout in tests if rollout.success]
    random = np.random.default_rng(0)
    for _ in range(splits):
        order = [failed[index] for index in random.permutation(len(failed))]
        for count in COUNTS:
            if count < len(failed):
                yield Split(f"{count} failures", order[:count], [*successes, *order[count:]])
    for group in sorted({rollout.group for rollout in failed}):
        of_group = [rollout for rollout in failed if rollout.group == group]
        others = [rollout for rollout in failed if rollout.group != group]
        yield Split("a new kind", others, [*successes, *of_group])


def false_alarm_rates(part: tuple[Path, int], alpha: float) -> dict[str, float]:
    """Return, by rule, the share of undisturbed successes with an alarm in one dealing."""
    path, seed = part
    rollout_set = _read(path)
    undisturbed = [
        replace(rollout, calibration=None)
        for rollout in rollout_set.rollouts
        if rollout.success and rollout.group in IN_DISTRIBUTION_GROUPS
    ]
    failed = [rollout for rollout in rollout_set.rollouts if not rollout.success]
    random = np.random.default_rng(seed)
    order = [undisturbed[index] for index in random.permutation(len(undisturbed))]
    teaching = [failed[index] for index in random.permutation(len(failed))[:RATE_FAILURES]]
    calibration, fresh = order[:RATE_CALIBRATION], order[RATE_CALIBRATION:]
    default = choose_rule(calibration, rollout_set.policy).scores
    cross_fitting.fit_score = RememberedFits()
    rates = {}
    for title, settings in rules(default, alpha).items():
        if settings.probed == default:
            failures = teaching if settings.has_probe else []
            bundle = calibrate(calibration, rollout_set.policy, settings, failures=failures)
            alarms = [bundle.levels(rollout).max() > 1 for rollout in fresh]
            rates[title] = float(np.mean(alarms))
    progress.print(f"{path.stem}: dealing {seed}", markup=False)
    return rates


@lru_cache(maxsize=1)
def _read(path: Path) -> RolloutSet:
    """Return the rates of many dealings, of one archive after another."""
    return read_rollouts([path])


def _figures(metrics: Metrics) -> dict[str, float]:
    values = {key: getattr(metrics, key) for key in FIGURES}
    return {key: np.nan if value is None else value for key, value in values.items()}


def _mean_figures(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.nanmean([each[key] for each in figures])) for key in FIGURES}


def _rows(detections: dict[str, dict[str, dict[str, float]]]) -> list[Row]:
    titles = list(dict.fromkeys(title for found in detections.values() for title in found))
    rows = []
    for title in titles:
        by_archive = {name: found[title] for name, found in detections.items() if title in found}
        rows.append(Row(title, _mean_figures(list(by_archive.values())), by_archive))
    return rows


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row.title, *(f"{row.mean[key]:.3f}" for key in FIGURES))
    return table


def _rate_table(rates: Sequence[dict[str, float]], alpha: float) -> Table:
    title = f"False-alarm rate, at most {alpha:g}, over {len(rates)} dealings"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for heading in ("false alarms", "standard error"):
        table.add_column(heading, justify="right")
    for rule in rates[0]:
        values = [each[rule] for each in rates]
        error = np.std(values) / np.sqrt(len(values))
        table.add_row(rule, f"{np.mean(values):.3f}", f"{error:.3f}")
    return table


if __name__ == "__main__":
    run_alone(main)
