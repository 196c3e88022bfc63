# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor audit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from failure_monitor.cli.app import app, output, plain_errors, progress
from failure_monitor.cli.json_file import write_json
from failure_monitor.cli.options import Reading, Sources, StatedActions, with_options
from failure_monitor.errors import FailureMonitorError

if TYPE_CHECKING:
    from failure_monitor.audit import Audit, AuditVerdict, Reception
    from failure_monitor.sources.exclusions import Exclusions
    from failure_monitor.sources.rollouts import RolloutSet

UNDEFINED = "–"

STYLES: dict[AuditVerdict, str] = {"keep": "green", "look": "yellow", "drop": "red"}


@app.command()
@plain_errors
@with_options
def audit(
    sources: Sources,
    reading: Reading,
    actions: StatedActions,
    drop: Annotated[
        Path | None,
        typer.Option(help="write here what to drop, for `failure-monitor calibrate --exclude`"),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="write all of it here as JSON")] = None,
    seed: Annotated[int, typer.Option(help="of the folds in which rollouts are compared")] = 0,
) -> None:
    """Look for what is wrong with successful rollouts, before anything is calibrated on them."""
    from failure_monitor.audit import audit as look_at
    from failure_monitor.sources.exclusions import write_exclusions

    sets, unreadable = _read_each(sources, reading, actions)
    found = look_at(
        [rollout for each in sets for rollout in each.rollouts],
        [each.policy for each in sets for _ in each.rollouts],
        receptions=_receptions(sets),
        seed=seed,
        jobs=reading.processes,
        report=lambda step: progress.print(step),
    )
    output.print(_rollouts_table(found))
    for each in found.rollouts:
        for reason in each.reasons:
            _say(each.verdict, each.name, reason)
    for path, why in unreadable.items():
        _say("drop", str(path), why)
    for remark in found.remarks:
        output.print(remark, markup=False)
    output.print(_set_table(found, len(unreadable)))
    if drop is not None:
        write_exclusions(drop, _exclusions(found, unreadable))
        output.print(f"wrote {drop}", markup=False)
    if json is not None:
        unread = {str(path): why for path, why in unreadable.items()}
        write_json(json, {**asdict(found), "unreadable": unread})


def _read_each(
    paths: Sequence[Path], reading: Reading, actions: StatedActions
) -> tuple[list[RolloutSet], dict[Path, str]]:
    """The rollouts of every source by themselves, and why one cannot be read."""
    from failure_monitor.sources.labels import read_labels
    from failure_monitor.sources.rollouts import SourceError, find_sources, label

    unlabelled = replace(reading, labels=None)
    sets: list[RolloutSet] = []
    unreadable: dict[Path, str] = {}
    for source in find_sources(paths):
        try:
            sets.append(_to_calibrate_on(unlabelled.read([source.path], **actions.stated)))
        except FailureMonitorError as error:
            unreadable[source.path] = str(error)
    sets = [each for each in sets if each.rollouts]
    if not sets:
        raise SourceError("; ".join(unreadable.values()) or "there is nothing to calibrate on")
    labels = None if reading.labels is None else read_labels(reading.labels)
    return list(label(sets, labels)), unreadable


def _to_calibrate_on(rollout_set: RolloutSet) -> RolloutSet:
    """Without what the source keeps for tests."""
    kept = tuple(each for each in rollout_set.rollouts if each.calibration is not False)
    return replace(rollout_set, rollouts=kept)


def _receptions(sets: Sequence[RolloutSet]) -> dict[str, Reception]:
    from failure_monitor.audit import Reception

    return {
        sha256: Reception(
            delay_spread=float(np.ptp(reception.delays)),
            lost=reception.unpaired + reception.repeated,
        )
        for each in sets
        for sha256, reception in each.receptions.items()
    }


def _rollouts_table(found: Audit) -> Table:
    table = Table(title="Rollouts", title_justify="left")
    table.add_column("rollout", no_wrap=True)
    for column in ("decisions", "seconds", "per second", "longest gap", "trajectory p", "scores p"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for each in found.rollouts:
        table.add_row(
            escape(each.name),
            str(each.decisions),
            _number(each.seconds, 1),
            _number(each.rate, 1),
            _number(each.longest_gap, 2),
            _number(each.trajectory_p, 2),
            _number(each.scores_p, 2),
            f"[{STYLES[each.verdict]}]{each.verdict}[/]",
        )
    return table


def _say(verdict: AuditVerdict, name: str, reason: str) -> None:
    output.print(
        f"[{STYLES[verdict]}]{verdict}[/] {escape(name)}: {escape(reason)}", soft_wrap=True
    )


def _exclusions(found: Audit, unreadable: Mapping[Path, str]) -> Exclusions:
    """What to drop: a whole source where all of it is, else rollouts of it."""
    from failure_monitor.sources.exclusions import Exclusions

    kept = {Path(each.source).resolve() for each in found.rollouts if each.verdict != "drop"}
    dropped = [each for each in found.rollouts if each.verdict == "drop"]
    whole = {Path(each.source).resolve() for each in dropped} - kept
    return Exclusions(
        rollouts={
            each.sha256: each.name for each in dropped if Path(each.source).resolve() in kept
        },
        sources=tuple(sorted({*whole, *(path.resolve() for path in unreadable)})),
    )


def _set_table(found: Audit, unreadable: int) -> Table:
    counts = {
        verdict: sum(each.verdict == verdict for each in found.rollouts) for verdict in STYLES
    }
    table = Table(title="All together", show_header=False, title_justify="left")
    table.add_row("keep", str(counts["keep"]))
    table.add_row("look", f"{counts['look']}: see why, then decide")
    table.add_row("drop", str(counts["drop"] + unreadable))
    table.add_row(
        "action divergence",
        f"{_number(found.quality.action_divergence, 2)}: 0, the situation settles what is done; "
        "1, it says nothing of it",
    )
    table.add_row(
        "transition diversity",
        f"{_number(found.quality.transition_diversity, 2)}: 0, the situation settles what comes "
        "of it; 1, it says nothing of it",
    )
    table.add_row("p", "the share of rollouts that are at least as unlike the others")
    return table


def _number(value: float | None, digits: int) -> str:
    return UNDEFINED if value is None else f"{value:.{digits}f}"
