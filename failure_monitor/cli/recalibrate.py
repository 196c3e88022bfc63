# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor recalibrate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.markup import escape
from rich.table import Table

from failure_monitor.cli.app import output, progress
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.cli.options import Reading, Sources
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.errors import UsageError

if TYPE_CHECKING:
    from failure_monitor.bundle.bundle import Bundle
    from failure_monitor.recalibration.recalibrate import PastAlarm, Recalibration


def recalibrate(
    bundle_folder: Annotated[
        Path, Argument(metavar="BUNDLE", help="the bundle to calibrate again")
    ],
    sources: Sources,
    reading: Reading,
    output_folder: Annotated[
        Path | None,
        Option(
            "--output",
            help="the new bundle to write; without it, only what it would change is shown",
            writes="folder",
        ),
    ] = None,
    replace: Annotated[
        bool, Option(help="use new rollouts instead of the bundle's own, not beside them")
    ] = False,
    last: Annotated[
        int | None, Option(min=1, help="use the newest of each task only, so many")
    ] = None,
    since: Annotated[
        str,
        Option(
            metavar="DATE",
            help="use rollouts only that started then or later, as 2026-11-29 or with a time",
        ),
    ] = "",
    alpha: Annotated[
        float | None,
        Option(
            above=0,
            below=1,
            help="the chance that a successful rollout ever raises an alarm; default: as before",
        ),
    ] = None,
    future: Annotated[
        str,
        Option(
            metavar="SHARES",
            help="weigh rollouts for the groups of successful rollouts to come, as "
            "evening=0.7,morning=0.3, or as-new for those of the new ones",
        ),
    ] = "",
    accept_missed: Annotated[
        bool, Option(help="accept that alarms in failed rollouts are lost")
    ] = False,
) -> None:
    """Calibrate a bundle again on newer rollouts, and show what that changes."""
    from failure_monitor.recalibration.chosen_rollouts import Window
    from failure_monitor.recalibration.recalibrate import recalibrate as recalibrate_sources

    recalibration = recalibrate_sources(
        bundle_folder,
        sources,
        output_folder,
        window=Window(last, _date(since), replace),
        alpha=alpha,
        future=future,
        accept_missed=accept_missed,
        reading=reading.options,
        report=lambda text: progress.print(text, markup=False),
        progress=shown_progress,
    )
    output.print(_table(recalibration))
    if output_folder is not None:
        output.print(f"wrote {output_folder}", soft_wrap=True, markup=False)


def _date(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"'--since {text}' is no date: write it as 2026-11-29 or 2026-11-29T14:00"
        ) from None


def _table(recalibration: Recalibration) -> Table:
    table = Table(title="What recalibration changes", show_header=False, title_justify="left")
    for what, text in _rows(recalibration):
        table.add_row(what, escape(text))
    return table


def _rows(recalibration: Recalibration) -> Iterator[tuple[str, str]]:
    from failure_monitor.outcome.known_outcomes import KnownOutcomes

    chosen, old, new = recalibration.chosen, recalibration.old, recalibration.new
    yield (
        "rollouts",
        f"{len(old.calibration)} before; {len(chosen.came)} came, {len(chosen.went)} went; "
        f"{len(new.calibration)} now",
    )
    if chosen.for_tests:
        yield "left out", f"{len(chosen.for_tests)} rollouts that their source keeps for tests"
    # Of those that are chosen anew; what the bundle had before is known as it was.
    yield "new rollouts", KnownOutcomes.of([*chosen.came, *chosen.failed]).text
    if new.description.future:
        yield from _weighed(new)
    if recalibration.promise is not None:
        yield "promise before", recalibration.promise.state.text
    before = {promise.task: promise for promise in old.description.promises}
    for promise in new.description.promises:
        of = f" in {promise.task}" if promise.task else ""
        low, high = promise.false_alarm_interval_90
        yield f"true rate{of}", f"between {low:.3f} and {high:.3f} now (90 %)"
        known = before.get(promise.task)
        for name, threshold in promise.thresholds.items():
            was = None if known is None else known.thresholds.get(name)
            text = f"{threshold:.4g}" if was is None else f"{was:.4g} before, {threshold:.4g} now"
            yield f"threshold of {name}{of}", text
    for ends in () if new.description.outcome is None else new.description.outcome.tasks:
        if ends.unknown:
            of = f" of {ends.task}" if ends.task else ""
            yield "outcome check", f"judges no end{of} now: {ends.unknown}"
    successes = [alarm for alarm in recalibration.alarms if alarm.success]
    failures = [alarm for alarm in recalibration.alarms if not alarm.success]
    yield "alarms in new successes", _change(successes)
    if failures:
        yield "alarms in failures", _change(failures)
    for name in recalibration.missed:
        yield "missed from now on", name


def _weighed(new: Bundle) -> Iterator[tuple[str, str]]:
    counts = Counter(rollout.group for rollout in new.calibration)
    future = new.description.future
    for name, number in sorted(counts.items()):
        share = f"a share of {future[name]:.3g} to come" if name in future else "weighs nothing"
        yield f"group {name}", f"{number} of {len(new.calibration)} rollouts; {share}"
    for promise in new.description.promises:
        of = f" in {promise.task}" if promise.task else ""
        yield f"they count as{of}", f"{promise.counting} rollouts of one weight (Kish)"


def _change(alarms: list[PastAlarm]) -> str:
    before, after = (sum(alarm.before for alarm in alarms), sum(alarm.after for alarm in alarms))
    return f"{before} of {len(alarms)} before, {after} now"
