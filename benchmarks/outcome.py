# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the outcome check finds of successes that are claimed in the demo, true and false ones.

The demo's policies run in its simulation, without ROS, until a caller that sees only the hand and
the commands claims success. Truth is the simulator's. Undisturbed rollouts calibrate a bundle by
the default rule, whose check is asked about further undisturbed ones and about false successes of
many kinds; beside it stand checks of fewer parts, and of the hand's positions. Then the true ones
are dealt again and again. Rollouts stay in --data, and an interrupted run goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
from benchmark_parts.claiming_rollouts import Claiming, Made, all_kinds
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.cross_fitting import deal
from failure_monitor.calibration.outcome_fitting import EndSettings, fit_outcome_check
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.calibration.settings import USUAL_FOLDS, CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import Rollout
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.tasks import TASKS
from failure_monitor.evaluation.metrics import clopper_pearson
from failure_monitor.evaluation.outcome_figures import OutcomeCount, outcome_figures
from failure_monitor.outcome.check import OutcomeCheck
from failure_monitor.outcome.rollout_end import RolloutEnd, ends_of
from failure_monitor.outcome.verdict import OutcomeWord
from failure_monitor.thresholds.conformal import rank

assert one_thread
TRUE_SUCCESSES = "true successes"
BUNDLE = "the bundle's"
PARTS = {
    "without the embedding": ("joints", "actions", "length"),
    "hand alone": ("positions",),
    "joints alone": ("joints",),
    "embedding alone": ("embedding",),
    "actions alone": ("actions",),
    "length alone": ("length",),
    "all and the hand": ("embedding", "positions", "joints", "actions", "length"),
}
"""What is compared beside the check that the default rule gives."""
DEALT = (BUNDLE, "without the embedding", "hand alone")
"""What is dealt again and again."""
NUMBERS = (10, 20, 40)
TESTS, FALSE_TESTS = 40, 10
"""True successes, and false ones of every kind, that test a split."""
console = Console(width=190)


@dataclass(frozen=True)
class Figure:
    """What a check says of rollouts that claim success.

    Attributes:
        task: of the demo.
        kind: what happened in them.
        parts: what is compared.
        count: how many there are, are not judged, and are doubted.
    """

    task: str
    kind: str
    parts: str
    count: OutcomeCount


@dataclass(frozen=True)
class Alarms:
    """Rollouts that claim success in which the monitor raised an alarm before.

    Attributes:
        task: of the demo.
        kind: what happened in them.
        rollouts: how many.
        alarmed: of these.
        unseen: neither alarmed nor doubted.
    """

    task: str
    kind: str
    rollouts: int
    alarmed: int
    unseen: int


@dataclass(frozen=True)
class Coverage:
    """True successes that are doubted, over splits.

    Attributes:
        task: of the demo.
        parts: what is compared.
        n: calibration rollouts.
        exact: the share that ranks allow.
        doubted: the mean share.
        standard_error: of that mean.
        found: the mean share of false successes of each kind.
    """

    task: str
    parts: str
    n: int
    exact: float
    doubted: float
    standard_error: float
    found: Mapping[str, float]


@dataclass(frozen=True)
class Times:
    """How long the bundle's check takes, in milliseconds, over all rollouts."""

    task: str
    checks: int
    median: float
    p99: float


def main(
    data: Annotated[Path, Option(help="folder that keeps the rollouts")],
    calibration: Annotated[int, Option(min=10, help="true successes that calibrate")] = 40,
    true: Annotated[int, Option(min=1, help="further true successes")] = 120,
    false: Annotated[int, Option(min=1, help="false successes of each kind")] = 30,
    splits: Annotated[int, Option(min=2, help="of the true successes")] = 300,
    alpha: Annotated[float, Option(above=0, below=1, help="of the check")] = 0.1,
    tasks: Annotated[str, Option(help="comma-separated")] = ",".join(TASKS),
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure the outcome check on claims of the demo."""
    figures: list[Figure] = []
    covered: list[Coverage] = []
    alarms: list[Alarms] = []
    times: list[Times] = []
    made: dict[str, dict[str, Made]] = {}
    for task in tasks.split(","):
        right, wrong = all_kinds(task, calibration + true, false, data)
        made[task] = {each.kind.title: each.made for each in (right, *wrong)}
        old, further = right.rollouts[:calibration], right.rollouts[calibration:]
        bundle = _bundle(old, alpha, task)
        checks = _checks(bundle, old, alpha)
        alarms += [
            _alarms(bundle, task, title, rollouts)
            for title, rollouts in {TRUE_SUCCESSES: further, **_by_kind(wrong)}.items()
        ]
        figures += _figures(checks, task, further, wrong)
        times.append(_times(checks[BUNDLE], task, [*further, *_all(wrong)]))
        covered += [
            _coverage(task, title, checks[title], right.rollouts, wrong, n, splits)
            for title in DEALT
            for n in NUMBERS
        ]
    for task, kinds in made.items():
        console.print(_made_table(task, kinds))
        console.print(
            _table(
                [figure for figure in figures if figure.task == task],
                {each.kind: each for each in alarms if each.task == task},
                alpha,
            )
        )
        console.print(_coverage_table(covered, task, alpha))
    for each in times:
        console.print(
            f"{each.task}: a check takes {each.median:.2f} ms (median), {each.p99:.2f} ms (99th "
            f"percentile of {each.checks})"
        )
    if results is not None:
        content = {
            "alpha": alpha,
            "made": {
                task: {title: asdict(each) for title, each in kinds.items()}
                for task, kinds in made.items()
            },
            "alarms": [asdict(each) for each in alarms],
            "figures": [{**vars(each), "count": each.count.to_json()} for each in figures],
            "coverage": [asdict(each) for each in covered],
            "times": [asdict(each) for each in times],
        }
        results.write_text(json.dumps(content, indent=2) + "\n")


def _published(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Return rollouts as the demo's robot gives them: where the hand is, it does not publish."""
    return [replace(rollout, positions=None) for rollout in rollouts]


def _bundle(rollouts: Sequence[Rollout], alpha: float, task: str) -> Bundle:
    """Return a bundle by the default rule."""
    form, published = FlowPolicy(MODELS / task).format, _published(rollouts)
    settings = CalibrationSettings(
        choose_rule(published, form).scores, jobs=1, outcome_alpha=alpha
    )
    return calibrate(published, form, settings)


def _checks(bundle: Bundle, rollouts: Sequence[Rollout], alpha: float) -> dict[str, OutcomeCheck]:
    """Return the check of a bundle, and those of other parts in the same folds."""
    assert bundle.outcome_check is not None
    form = bundle.outcome_check.format.policy
    checks = {BUNDLE: bundle.outcome_check}
    folds = deal([""] * len(rollouts), min(USUAL_FOLDS, len(rollouts)), 0)
    for title, parts in PARTS.items():
        joints = bundle.outcome_check.format.joints
        checks[title] = fit_outcome_check(rollouts, folds, form, EndSettings(alpha, parts, joints))
    return checks


def _all(wrong: Sequence[Claiming]) -> list[Rollout]:
    return [rollout for kind in wrong for rollout in kind.rollouts]


def _by_kind(wrong: Sequence[Claiming]) -> dict[str, list[Rollout]]:
    """Return the false successes of each kind, and all of them."""
    kinds = {kind.kind.title: list(kind.rollouts) for kind in wrong}
    return {**kinds, "all false successes": _all(wrong)}


def _alarms(bundle: Bundle, task: str, kind: str, rollouts: Sequence[Rollout]) -> Alarms:
    check = bundle.outcome_check
    assert check is not None
    alarmed = [bool((bundle.levels(each) > 1).any()) for each in _published(rollouts)]
    doubted = [check.check(end).word is OutcomeWord.DOUBTFUL for end in ends_of(rollouts)]
    unseen = sum(not (seen or doubt) for seen, doubt in zip(alarmed, doubted, strict=True))
    return Alarms(task, kind, len(rollouts), sum(alarmed), unseen)


def _figures(
    checks: Mapping[str, OutcomeCheck],
    task: str,
    further: Sequence[Rollout],
    wrong: Sequence[Claiming],
) -> list[Figure]:
    figures = []
    for title, check in checks.items():
        found = outcome_figures(check, further)
        assert found is not None
        figures.append(Figure(task, TRUE_SUCCESSES, title, found.true_successes))
        for name, rollouts in _by_kind(wrong).items():
            found = outcome_figures(check, rollouts)
            assert found is not None
            figures.append(Figure(task, name, title, found.false_successes))
    return figures


def _coverage(
    task: str,
    title: str,
    of: OutcomeCheck,
    rollouts: Sequence[Rollout],
    wrong: Sequence[Claiming],
    n: int,
    splits: int,
) -> Coverage:
    form = FlowPolicy(MODELS / task).format
    settings = EndSettings(of.alpha, of.parts, of.format.joints)
    doubted = []
    found: dict[str, list[float]] = {kind.kind.title: [] for kind in wrong if kind.rollouts}
    true = ends_of(rollouts)
    false = {kind.kind.title: ends_of(kind.rollouts[:FALSE_TESTS]) for kind in wrong}
    for index in range(splits):
        order = np.random.default_rng(index).permutation(len(rollouts))
        old = [rollouts[place] for place in order[:n]]
        folds = deal([""] * n, min(USUAL_FOLDS, n), index)
        check = fit_outcome_check(old, folds, form, settings)
        doubted.append(_share_doubted(check, [true[place] for place in order[n : n + TESTS]]))
        for kind, shares in found.items():
            shares.append(_share_doubted(check, false[kind]))
    return Coverage(
        task,
        title,
        n,
        exact=(n + 1 - rank(n, of.alpha)) / (n + 1),
        doubted=float(np.mean(doubted)),
        standard_error=float(np.std(doubted, ddof=1) / np.sqrt(splits)),
        found={kind: float(np.mean(shares)) for kind, shares in found.items()},
    )


def _share_doubted(check: OutcomeCheck, ends: Sequence[RolloutEnd]) -> float:
    words = [check.check(end).word for end in ends]
    assert OutcomeWord.NOT_JUDGED not in words
    return float(np.mean([word is OutcomeWord.DOUBTFUL for word in words]))


def _times(check: OutcomeCheck, task: str, rollouts: Sequence[Rollout]) -> Times:
    taken = []
    for end in ends_of(rollouts):
        before = time.perf_counter()
        check.check(end)
        taken.append(1e3 * (time.perf_counter() - before))
    return Times(task, len(taken), float(np.median(taken)), float(np.quantile(taken, 0.99)))


def _made_table(task: str, kinds: Mapping[str, Made]) -> Table:
    table = Table(title=f"{task}: what was run", title_justify="left", box=SIMPLE_HEAD)
    for column in ("perturbed", "tried", "no claim", "true", "false", "left out", "moved"):
        table.add_column(column, justify="left" if column == "perturbed" else "right")
    for title, made in kinds.items():
        moved = "–" if made.travel is None else f"{100 * made.travel:.0f} %"
        numbers = (made.tried, made.unclaimed, made.true, made.false, made.left_out)
        table.add_row(title, *map(str, numbers), moved)
    return table


def _table(figures: Sequence[Figure], alarms: Mapping[str, Alarms], alpha: float) -> Table:
    """Return the share of doubted rollouts by kind and by what is compared."""
    cells = {(each.kind, each.parts): each.count for each in figures}
    kinds, parts = (list(dict.fromkeys(keys)) for keys in zip(*cells, strict=True))
    task = figures[0].task
    table = Table(title=f"{task}: doubted, alpha {alpha:g}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("claimed")
    for column in (
        "judged",
        "not judged",
        "alarmed",
        "unseen",
        "doubted",
        "95 % interval",
        *parts[1:],
    ):
        table.add_column(column, justify="right")
    for kind in kinds:
        count = cells[kind, BUNDLE]
        low, high = clopper_pearson(count.doubted, count.judged) or (np.nan, np.nan)
        table.add_row(
            kind,
            str(count.judged),
            str(count.not_judged),
            str(alarms[kind].alarmed),
            str(alarms[kind].unseen),
            str(count.doubted),
            f"{_share(count)} ({low:.2f}–{high:.2f})",
            *(_share(cells[kind, title]) for title in parts[1:]),
        )
    return table


def _share(count: OutcomeCount) -> str:
    return "–" if count.share is None else f"{count.share:.2f}"


def _coverage_table(covered: Sequence[Coverage], task: str, alpha: float) -> Table:
    """Return the mean shares over splits, of true successes and of each kind of false ones."""
    of_task = [each for each in covered if each.task == task]
    table = Table(
        title=f"{task}: doubted over splits, alpha {alpha:g}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("compared")
    kinds = list(of_task[0].found)
    for column in ("calibration\nrollouts", "ranks\nallow", "true successes", *kinds):
        table.add_column(column, justify="right")
    for each in of_task:
        table.add_row(
            each.parts,
            str(each.n),
            f"{each.exact:.3f}",
            f"{each.doubted:.3f} ± {each.standard_error:.3f}",
            *(f"{each.found[kind]:.2f}" for kind in kinds),
        )
    return table


if __name__ == "__main__":
    run_alone(main)
