# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failure_monitor.atomic_file import write_json
from failure_monitor.bundle import bundle
from failure_monitor.cli.app import app, output, plain_errors
from failure_monitor.cli.options import Reading, Sources, one_of, stated_by, with_options
from failure_monitor.cli.report import ReportFolder, check_report, report_evaluation


@app.command()
@plain_errors
@with_options
def evaluate(
    bundle_folder: Annotated[Path, typer.Argument(metavar="BUNDLE", help="a calibrated bundle")],
    sources: Sources,
    reading: Reading,
    json: Annotated[Path | None, typer.Option(help="write the results here as JSON")] = None,
    group_by: Annotated[
        str,
        typer.Option(
            help="what figures are broken down by: group (such as the kind of perturbation) or task"
        ),
    ] = "group",
    report: ReportFolder = None,
    report_camera: Annotated[
        str,
        typer.Option(
            metavar="TOPIC",
            help="the camera in bags whose frames the report shows; default: the first by name "
            "that can be shown",
        ),
    ] = "",
) -> None:
    """Measure a bundle on rollouts with known outcomes."""
    from failure_monitor.evaluation.evaluate import GROUP_KEYS, tables
    from failure_monitor.evaluation.evaluate import evaluate as measure

    check_report(report)
    key = one_of(group_by, GROUP_KEYS, "key to group by")
    calibrated = bundle.load(bundle_folder)
    rollout_set = reading.read(sources, **stated_by(calibrated.policy))
    evaluation = measure(calibrated, rollout_set, group_by=key)
    if json is not None:
        write_json(json, evaluation.to_json())
    for table in tables(evaluation):
        output.print(table)
    if report is not None:
        report_evaluation(
            report,
            calibrated,
            bundle_folder,
            rollout_set,
            evaluation,
            camera=report_camera,
            jobs=reading.processes,
        )
