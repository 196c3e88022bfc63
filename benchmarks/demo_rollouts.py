# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of the demo through the real nodes, with the monitor watching.

python benchmarks/demo_rollouts.py --no-halt: how often the policy succeeds and the monitor alarms,
undisturbed and under each perturbation, where the robot goes on after an alarm. With --halt the
gate stops it, and no command may pass after an alarm.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.demo.calibration_process import calibrate_arguments, calibration
from failure_monitor.demo.director import DEFAULT_TASK, PERTURBATIONS
from failure_monitor.demo.make_assets import BAGS
from failure_monitor.demo.perturbation import KINDS, UNDISTURBED, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.rig import open_rig
from failure_monitor.demo.summary import RolloutSummary, shortfalls, summarise
from failure_monitor.demo.timeline import RolloutPlan

ONSET = 0.7
"""Simulated seconds at which the perturbations that the demo does not show set in."""

console = Console(width=130)
progress = Console(stderr=True)


@dataclass(frozen=True)
class Row:
    """What rollouts of one kind came to; rates are shares of `n`, times are seconds."""

    title: str
    perturbation: str
    strength: float
    n: int
    success_rate: float
    alarm_rate: float
    alarms_in_successes: str
    alarms_in_failures: str
    alarms_before_perturbation: int
    median_alarm_time: float | None
    median_detection_delay: float | None
    median_reaction_time: float | None
    max_reaction_time: float | None
    passed_after_alarm: int


def row(summaries: Sequence[RolloutSummary]) -> Row:
    """Reduce the rollouts of one kind."""
    first, alarmed = summaries[0], [summary for summary in summaries if summary.alarmed]
    delays = [s.detection_delay for s in alarmed if s.detected and s.detection_delay is not None]
    early = 0 if first.perturbation == "none" else len(alarmed) - len(delays)
    reactions = [s.reaction_time for s in alarmed if s.reaction_time is not None]
    return Row(
        title=first.title,
        perturbation=first.perturbation,
        strength=first.strength,
        n=len(summaries),
        success_rate=sum(summary.outcome == "success" for summary in summaries) / len(summaries),
        alarm_rate=len(alarmed) / len(summaries),
        alarms_in_successes=_alarms([s for s in summaries if s.outcome == "success"]),
        alarms_in_failures=_alarms([s for s in summaries if s.outcome != "success"]),
        alarms_before_perturbation=early,
        median_alarm_time=median(s.alarm_time for s in alarmed) if alarmed else None,
        median_detection_delay=median(delays) if delays else None,
        median_reaction_time=median(reactions) if reactions else None,
        max_reaction_time=max(reactions, default=None),
        passed_after_alarm=sum(summary.passed_after_alarm for summary in summaries),
    )


def _alarms(summaries: Sequence[RolloutSummary]) -> str:
    return f"{sum(summary.alarmed for summary in summaries)} of {len(summaries)}"


def planned(nominal: int, perturbed: int, first_seed: int, kinds: str) -> list[list[RolloutPlan]]:
    """Return the rollouts of each row: the demo's own, then the perturbations it leaves out."""
    shown = {perturbation.kind: (title, perturbation) for title, perturbation in PERTURBATIONS}
    others = {kind: (kind, Perturbation(kind, 1.0, ONSET)) for kind in KINDS if kind != "none"}
    rows = [("Undisturbed", UNDISTURBED, nominal)]
    for kind, (title, perturbation) in {**shown, **others, **shown}.items():
        if not kinds or kind in kinds.split(","):
            rows.append((title, perturbation, perturbed))
    return [
        [RolloutPlan(title, kind, seed) for seed in range(first_seed, first_seed + count)]
        for title, kind, count in rows
        if count
    ]


def demo_holds(summaries: Sequence[RolloutSummary]) -> list[tuple[int, list[str]]]:
    """Return seeds with all four rollouts of the demo, and what did not hold of each."""
    titles = {"Undisturbed", *(title for title, _ in PERTURBATIONS)}
    by_seed: dict[int, list[RolloutSummary]] = {}
    for summary in summaries:
        if summary.title in titles:
            by_seed.setdefault(summary.seed, []).append(summary)
    return [(seed, shortfalls(of)) for seed, of in by_seed.items() if len(of) == len(titles)]


def table(rows: Sequence[Row]) -> Table:
    """Return the rows for a terminal."""
    drawn = Table(box=SIMPLE_HEAD)
    for column in (
        "rollouts",
        "n",
        "success",
        "alarm",
        "alarms in\nsuccesses",
        "alarms in\nfailures",
        "too\nearly",
        "median\nalarm",
        "median after\nperturbation",
        "decision to closed\ngate, p50 / max",
        "passed\nafter",
    ):
        drawn.add_column(column, justify="left" if column == "rollouts" else "right")
    for line in rows:
        drawn.add_row(
            line.title,
            str(line.n),
            f"{line.success_rate:.2f}",
            f"{line.alarm_rate:.2f}",
            line.alarms_in_successes,
            line.alarms_in_failures,
            str(line.alarms_before_perturbation),
            _number(line.median_alarm_time, "s"),
            _number(line.median_detection_delay, "s"),
            f"{_number(line.median_reaction_time, 'ms', 1e3)} / "
            f"{_number(line.max_reaction_time, 'ms', 1e3)}",
            str(line.passed_after_alarm),
        )
    return drawn


def _number(value: float | None, unit: str, factor: float = 1.0) -> str:
    return "–" if value is None else f"{factor * value:.2f} {unit}"


def main(
    task: Annotated[str, Option(help="what the arm does")] = DEFAULT_TASK,
    nominal: Annotated[int, Option(help="undisturbed rollouts")] = 40,
    perturbed: Annotated[int, Option(help="rollouts of each perturbation")] = 10,
    kinds: Annotated[str, Option(help="comma-separated; default: every kind")] = "",
    first_seed: Annotated[int, Option(help="of every row")] = 0,
    halt: Annotated[bool, Option(help="whether the gate stops the robot")] = True,
    bundle: Annotated[Path | None, Option(help="default: calibrated as in the demo")] = None,
    rule: Annotated[str, Option(help="where no bundle is given")] = "mean",
    scores: Annotated[
        str, Option(help="where no bundle is given; default: those of `calibrate`")
    ] = "",
    window: Annotated[int, Option(help="where no bundle is given")] = 3,
    alpha: Annotated[float, Option(help="where no bundle is given")] = 0.1,
    log: Annotated[Path, Option(help="for the output of the nodes")] = Path("nodes.log"),
    output: Annotated[Path | None, Option("--json", help="write the results here")] = None,
) -> None:
    """Run the rollouts, print a row per kind, and write all of it as JSON."""
    summaries: list[list[RolloutSummary]] = []
    with tempfile.TemporaryDirectory() as scratch, open_rig(task, log, halt=halt) as rig:
        calibrated = bundle or Path(scratch) / "bundle"
        arguments = calibrate_arguments(
            BAGS / task,
            calibrated,
            executed_actions=FlowPolicy(MODELS / task).h_exec,
            rule=rule,
            window=window,
            alpha=alpha,
            scores=scores,
        )
        with nullcontext() if bundle else calibration(arguments, Path(scratch) / "log") as process:
            if process is not None:
                progress.print(process.wait())
        rig.connect(calibrated)
        for rollouts in planned(nominal, perturbed, first_seed, kinds):
            summaries.append([])
            for plan in rollouts:
                summary = summarise(rig.run(plan))
                summaries[-1].append(summary)
                progress.print(
                    f"{summary.title} seed {summary.seed}: {summary.outcome} after "
                    f"{summary.duration:.2f} s, alarm {_number(summary.alarm_time, 's')}",
                    highlight=False,
                )
    rows = [row(of_a_kind) for of_a_kind in summaries]
    seeds = demo_holds([summary for of_a_kind in summaries for summary in of_a_kind])
    console.print(table(rows))
    held = sum(not missing for _, missing in seeds)
    console.print(f"the demo's conditions hold for {held} of {len(seeds)} seeds")
    for seed, missing in seeds:
        for sentence in missing:
            console.print(f"seed {seed}: {sentence}", highlight=False)
    if output is not None:
        content = {
            "task": task,
            "halt": halt,
            "rule": rule,
            "scores": scores,
            "window": window,
            "alpha": alpha,
            "rows": [asdict(line) for line in rows],
            "seeds": [{"seed": seed, "shortfalls": missing} for seed, missing in seeds],
            "rollouts": [asdict(summary) for of_a_kind in summaries for summary in of_a_kind],
        }
        output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    run_alone(main)
