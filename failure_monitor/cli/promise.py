# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor promise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.markup import escape
from rich.table import Table

from failure_monitor.atomic_file import write_atomically, write_json
from failure_monitor.cli.app import output
from failure_monitor.cli.budget_options import BudgetOptions
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.cli.options import Delta, Reading, Sources
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.errors import UsageError

if TYPE_CHECKING:
    from failure_monitor.evaluation.watched_promise import PromiseCourse

FIGURES = (".svg", ".png")


def promise(
    bundle_folder: Annotated[Path, Argument(metavar="BUNDLE", help="a calibrated bundle")],
    sources: Sources,
    reading: Reading,
    budget: BudgetOptions,
    delta: Delta = 0.01,
    figure: Annotated[
        Path | None,
        Option(help="draw the evidence over time here, as .svg or .png", writes="file"),
    ] = None,
    json: Annotated[
        Path | None, Option(help="write all of it here as JSON", writes="file")
    ] = None,
) -> None:
    """Show whether a bundle's promise still holds in recordings, in order of time."""
    from failure_monitor.evaluation.watched_promise import promise_of_sources

    if figure is not None and figure.suffix.lower() not in FIGURES:
        raise UsageError(f"'--figure {figure}' ends neither with .svg nor with .png: name it so")
    bundle, course = promise_of_sources(
        bundle_folder, sources, delta=delta, reading=reading.options, progress=shown_progress
    )
    output.print(_table(course, budget.rows(bundle)))
    if figure is not None:
        from failure_monitor.report.promise_course_figure import promise_course_picture

        write_atomically(figure, promise_course_picture(course, figure.suffix.lower()[1:]))
        output.print(f"wrote {figure}", soft_wrap=True, markup=False)
    if json is not None:
        write_json(json, {**course.to_json(), "alarm_budget": dict(budget.rows(bundle))})


def _table(course: PromiseCourse, budget: list[tuple[str, str]]) -> Table:
    table = Table(title="The promise", show_header=False, title_justify="left")
    table.add_row("state", escape(course.state.text))
    for reason, number in course.left_out.items():
        table.add_row("left out", f"{number} rollout{'s' if number > 1 else ''}: {reason}")
    table.add_row("outcomes", escape(course.known.text))
    for what, text in budget:
        table.add_row(what, escape(text))
    return table
