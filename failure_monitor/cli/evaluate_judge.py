# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor evaluate-judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from failure_monitor.atomic_file import write_json
from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.cli.judged_sources import JudgedSources
from failure_monitor.cli.options import Reading
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.cli.terminal_table import terminal_table


def evaluate_judge(
    judge_file: Annotated[
        Path, Argument(metavar="JUDGE", help="a judge, written by calibrate-judge")
    ],
    sources: JudgedSources,
    reading: Reading,
    json: Annotated[
        Path | None, Option(help="write the results here as JSON", writes="file")
    ] = None,
) -> None:
    """Measure an outside judge on labelled rollouts that did not calibrate it."""
    from failure_monitor.evaluation.judge_figures import judge_figures, judge_table
    from failure_monitor.judges.judge_file import load_judge
    from failure_monitor.sources.judged_rollouts import judged_rollouts

    judge = load_judge(judge_file)
    judged = judged_rollouts(
        judge.name,
        sources,
        reading=reading.options,
        progress=shown_progress,
    )
    figures = judge_figures(judge, judged)
    if json is not None:
        write_json(json, figures.to_json())
    output.print(terminal_table(judge_table(figures)))
