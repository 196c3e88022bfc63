# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor calibrate-judge`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.markup import escape
from rich.table import Table

from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Option
from failure_monitor.cli.judged_sources import JudgedSources
from failure_monitor.cli.options import Reading
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.errors import one_of

if TYPE_CHECKING:
    from failure_monitor.calibration.judge_numbers import JudgeCalibration

BETTER = ("higher", "lower")


def calibrate_judge(
    sources: JudgedSources,
    reading: Reading,
    name: Annotated[
        str, Option(help="the judge's name, which is part of its topics", is_optional=False)
    ],
    output_file: Annotated[
        Path, Option("--output", help="the file of the judge to write", writes="file")
    ],
    better: Annotated[
        str, Option(help="which number is more surely a success", choices=BETTER)
    ] = "higher",
    accepted_failures: Annotated[
        float, Option(help="the largest share of failures that is accepted", above=0, below=1)
    ] = 0.1,
    doubted_successes: Annotated[
        float, Option(help="the largest share of true successes that is doubted", above=0, below=1)
    ] = 0.1,
) -> None:
    """Calibrate an outside judge of finished rollouts: what it accepts and what it doubts."""
    from failure_monitor.calibration.judge_numbers import calibrate_judge as calibrate
    from failure_monitor.judges.judge_file import save_judge

    calibration = calibrate(
        name,
        sources,
        better=one_of(better, BETTER, "direction"),  # type: ignore[arg-type]
        accepted_failures=accepted_failures,
        doubted_successes=doubted_successes,
        reading=reading.options,
        progress=shown_progress,
    )
    save_judge(calibration.judge, output_file)
    output.print(_table(calibration))
    output.print(f"wrote {output_file}", soft_wrap=True, markup=False)


def _table(calibration: JudgeCalibration) -> Table:
    table = Table(
        title=f"The judge {calibration.judge.name}", show_header=False, title_justify="left"
    )
    for what, text in _rows(calibration):
        table.add_row(what, escape(text))
    return table


def _rows(calibration: JudgeCalibration) -> Iterator[tuple[str, str]]:
    judge = calibration.judge
    low, high = judge.rate_interval
    yield (
        "failures accepted",
        f"at most {judge.supported_rate:.3g} of those like the {len(judge.failures)} labelled "
        f"ones; the true rate lies between {low:.3f} and {high:.3f} (90 %)",
    )
    yield (
        "true successes doubted",
        f"at most {judge.doubted_successes:g} of those like the {len(judge.successes)} labelled "
        "ones",
    )
    for success, what in ((True, "labelled successes"), (False, "labelled failures")):
        words = calibration.words(success)
        yield what, ", ".join(f"{count} {word.value}" for word, count in words.items())
    if not calibration.is_useful:
        yield "remark", "no labelled success is accepted: this judge spares no human any work"
    if calibration.claims:
        yield (
            "remark",
            f"{calibration.claims} of the successes are claims that nobody has confirmed: label "
            "them, as silent false successes among them are what a judge is for",
        )
    for why, count in calibration.left_out.items():
        yield "left out", f"{count} rollout{'s' if count > 1 else ''} {why}"
