# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor audit`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.markup import escape
from rich.table import Table

from failure_monitor.atomic_file import write_json
from failure_monitor.cli.app import output, progress
from failure_monitor.cli.declaration import Option
from failure_monitor.cli.options import MAX_SEED, ActionOptions, Reading, Sources
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.cli.terminal_table import terminal_table
from failure_monitor.errors import FailureMonitorError

if TYPE_CHECKING:
    from failure_monitor.calibration.audit import Audit, AuditVerdict
    from failure_monitor.sources.exclusions import Exclusions
    from failure_monitor.sources.reading import Found, Report
    from failure_monitor.sources.reading_options import ReadingOptions, StatedActions
    from failure_monitor.sources.rollout_set import RolloutSet

STYLES: dict[str, str] = {"keep": "green", "look": "yellow", "drop": "red"}


def audit(
    sources: Sources,
    reading: Reading,
    actions: ActionOptions,
    drop: Annotated[
        Path | None,
        Option(
            help="write here what to drop, for `failure-monitor calibrate --exclude`",
            writes="file",
        ),
    ] = None,
    json: Annotated[
        Path | None, Option(help="write all of it here as JSON", writes="file")
    ] = None,
    seed: Annotated[
        int, Option(min=0, max=MAX_SEED, help="of the folds in which rollouts are compared")
    ] = 0,
) -> None:
    """Find what is wrong with successful rollouts, before anything is calibrated on them."""
    from failure_monitor.calibration.audit import audit as audit_rollouts
    from failure_monitor.calibration.audit import receptions_of
    from failure_monitor.calibration.audit_text import audited_rollouts
    from failure_monitor.sources.exclusions import write_exclusions

    sets, unreadable = _read_each(sources, reading, actions)
    found = audit_rollouts(
        [rollout for each in sets for rollout in each.rollouts],
        [each.policy for each in sets for _ in each.rollouts],
        descriptions=[each.stated_policy for each in sets for _ in each.rollouts],
        receptions=receptions_of(sets),
        seed=seed,
        executor=reading.options.workers,
        report=lambda step: progress.print(step),
    )
    output.print(terminal_table(audited_rollouts(found), STYLES))
    for each in found.rollouts:
        for reason in each.reasons:
            _print_verdict(each.verdict, each.name, reason)
    for path, why in unreadable.items():
        _print_verdict("drop", str(path), why)
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
    paths: Sequence[Path], reading: Reading, actions: ActionOptions
) -> tuple[list[RolloutSet], dict[Path, str]]:
    """Read every source by itself; return the rollouts, and why a source cannot be read."""
    from failure_monitor.sources.agreed_policy import completed_by_one_another
    from failure_monitor.sources.found_sources import find_sources
    from failure_monitor.sources.labels import read_labels
    from failure_monitor.sources.reading import SourceProgress, unread
    from failure_monitor.sources.rollout_set import RolloutSet
    from failure_monitor.sources.rollouts import label, log_delays
    from failure_monitor.sources.source import SourceError

    options = reading.options
    options.check()
    sources = find_sources(paths)
    with shown_progress() as report:
        so_far = SourceProgress(sources, report)
        read = options.workers.map(
            _read_one,
            (options.alone, actions.stated),
            sources,
            sizes=so_far.sizes,
            finished=so_far.whole,
            advanced=so_far.at,
            lost=unread,
        )
    sets = [_to_calibrate_on(each) for each in read if isinstance(each, RolloutSet)]
    unreadable = {
        source.path: str(each)
        for source, each in zip(sources, read, strict=True)
        if isinstance(each, FailureMonitorError)
    }
    sets = completed_by_one_another([each for each in sets if each.rollouts])
    # Once for all of them, instead of for each.
    log_delays(sets)
    if not sets:
        raise SourceError("; ".join(unreadable.values()) or "there is nothing to calibrate on")
    labels = None if options.labels is None else read_labels(Path(options.labels))
    return list(label(sets, labels)), unreadable


def _read_one(
    how: tuple[ReadingOptions, StatedActions], source: Found
) -> RolloutSet | FailureMonitorError:
    """Return the rollouts of a source, or why it cannot be read."""
    options, stated = how
    try:
        return options.read([source.path], stated, progress=_told_on, logs_delays=False)
    except FailureMonitorError as error:
        return error


@contextmanager
def _told_on() -> Iterator[Report]:
    """Tell whoever waits for this source how far it is."""
    from failure_monitor.executors.present_work import advance

    yield lambda so_far: advance(so_far.size / max(so_far.of_size, 1))


def _to_calibrate_on(rollout_set: RolloutSet) -> RolloutSet:
    """Return the set without the rollouts that its source keeps for tests."""
    kept = tuple(each for each in rollout_set.rollouts if each.calibration is not False)
    return replace(rollout_set, rollouts=kept)


def _print_verdict(verdict: AuditVerdict, name: str, reason: str) -> None:
    output.print(
        f"[{STYLES[verdict]}]{verdict}[/] {escape(name)}: {escape(reason)}", soft_wrap=True
    )


def _exclusions(found: Audit, unreadable: Mapping[Path, str]) -> Exclusions:
    """Return what to drop: a whole source if all of it is dropped, else its rollouts."""
    from failure_monitor.sources.addresses import resolved
    from failure_monitor.sources.exclusions import Exclusions

    kept = {resolved(Path(each.source)) for each in found.rollouts if each.verdict != "drop"}
    dropped = [each for each in found.rollouts if each.verdict == "drop"]
    whole = {resolved(Path(each.source)) for each in dropped} - kept
    return Exclusions(
        # All of them: what an archive or a store holds is not read from its source.
        rollouts={each.sha256: each.name for each in dropped},
        sources=tuple(sorted({*whole, *(resolved(path) for path in unreadable)})),
    )


def _set_table(found: Audit, unreadable: int) -> Table:
    from failure_monitor.calibration.audit_text import audit_rows

    table = Table(title="All together", show_header=False, title_justify="left")
    for row in audit_rows(found, unreadable):
        table.add_row(*row)
    return table
