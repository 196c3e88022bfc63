# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from failure_monitor.atomic_file import write_json
from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.cli.options import Reading, Sources
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.cli.report import ReportFolder, check_report, report_evaluation
from failure_monitor.cli.terminal_table import terminal_table
from failure_monitor.cli.wish import MaxDisturbedAlarms, wish_for


def evaluate(
    bundle_folder: Annotated[Path, Argument(metavar="BUNDLE", help="a calibrated bundle")],
    sources: Sources,
    reading: Reading,
    json: Annotated[
        Path | None, Option(help="write the results here as JSON", writes="file")
    ] = None,
    group_by: Annotated[
        str,
        Option(
            help="what figures are broken down by: group (such as the kind of perturbation) or "
            "task",
            choices=("group", "task"),
        ),
    ] = "group",
    judge: Annotated[
        Path | None,
        Option(
            help="an outside judge, written by calibrate-judge, whose numbers the sources hold"
        ),
    ] = None,
    max_disturbed_alarms: MaxDisturbedAlarms = None,
    report: ReportFolder = None,
    report_camera: Annotated[
        str,
        Option(
            metavar="TOPIC",
            help="the camera in bags whose frames the report shows; default: the first by name "
            "that can be shown",
        ),
    ] = "",
) -> None:
    """Measure a bundle on rollouts with known outcomes."""
    from failure_monitor.evaluation.dial_text import dial_table, wish_json, wish_text
    from failure_monitor.evaluation.evaluate import text_tables
    from failure_monitor.evaluation.from_sources import evaluate_bundle

    check_report(report)
    evaluated = evaluate_bundle(
        bundle_folder,
        sources,
        group_by=group_by,
        judge=judge,
        reading=reading.options,
        progress=shown_progress,
    )
    dial, wish = evaluated.evaluation.dial, wish_for(evaluated.evaluation, max_disturbed_alarms)
    if json is not None:
        wished = {} if wish is None else {"wish": wish_json(wish)}
        write_json(json, {**evaluated.evaluation.to_json(), **wished})
    for table in text_tables(evaluated.evaluation):
        output.print(terminal_table(table))
    if dial is not None:
        output.print(terminal_table(dial_table(dial, wish)))
    if wish is not None:
        output.print(wish_text(wish), soft_wrap=True, markup=False)
    if report is not None:
        report_evaluation(
            report,
            evaluated,
            bundle_folder,
            camera=report_camera,
            executor=reading.options.workers,
        )
