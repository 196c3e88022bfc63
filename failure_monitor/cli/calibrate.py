# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from failure_monitor.cli.app import output, progress
from failure_monitor.cli.declaration import Option
from failure_monitor.cli.options import MAX_SEED, ActionOptions, Reading, Sources, names
from failure_monitor.cli.promise_table import promise_table
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.cli.report import ReportFolder, check_report, report_calibration
from failure_monitor.cli.wish import MaxDisturbedAlarms, wish_beside_calibration
from failure_monitor.scores.registry import FIPER_SCORES
from failure_monitor.thresholds.conformal import PROMISE_KINDS, RULES, THRESHOLD_KINDS


def calibrate(
    sources: Sources,
    reading: Reading,
    actions: ActionOptions,
    output_folder: Annotated[
        Path,
        Option(
            "--output",
            help="the bundle to write, a folder for the monitor node",
            writes="folder",
        ),
    ],
    alpha: Annotated[
        float,
        Option(above=0, below=1, help="the chance that a successful rollout ever raises an alarm"),
    ] = 0.1,
    rule: Annotated[
        str,
        Option(
            help=f"how scores combine: {', '.join(RULES)}; fiper: all of "
            f"{', '.join(FIPER_SCORES)}",
            choices=("fiper", *RULES),
        ),
    ] = "mean",
    scores: Annotated[
        str,
        Option(
            help="comma-separated names of the rule's scores; default: the best rule that is "
            "known for what policy and robot give, which says why"
        ),
    ] = "",
    window: Annotated[
        int, Option(min=1, max=1_000_000, help="over how many decisions a score is averaged")
    ] = 3,
    threshold: Annotated[
        str,
        Option(
            help=f"{', '.join(THRESHOLD_KINDS)} with the decision's number in its rollout",
            choices=THRESHOLD_KINDS,
        ),
    ] = "constant",
    promise: Annotated[
        str,
        Option(
            help="per-task: for each task; across-tasks: one for rollouts of any task, "
            "also one never seen, which takes 1/alpha − 1 tasks",
            choices=PROMISE_KINDS,
        ),
    ] = "per-task",
    folds: Annotated[
        int | None,
        Option(
            min=2,
            help="parts for cross-fitting by rollout; default: 10, or one for each of fewer",
        ),
    ] = None,
    fit: Annotated[
        list[Path] | None,
        Option(
            help="sources of other successful rollouts to fit the scores on (may be given more "
            "than once); without it the calibration rollouts are cross-fitted"
        ),
    ] = None,
    failures: Annotated[
        list[Path] | None,
        Option(
            help="sources of failed rollouts (may be given more than once); the score probe, "
            "which learns from them how to weigh the rule's scores, then joins these; with "
            "--scores probe it is the rule"
        ),
    ] = None,
    exclude: Annotated[
        Path | None,
        Option(help="a list of what to leave out, as `failure-monitor audit --drop` writes"),
    ] = None,
    outcome_alpha: Annotated[
        float | None,
        Option(
            min=0,
            below=1,
            help="the chance that the outcome check doubts a true success; 0 for no check; "
            "default: 0.1, or no check where the rollouts are too few for that",
        ),
    ] = None,
    choose_by: Annotated[
        str,
        Option(
            help="comma-separated names of scores that may choose among sampled chunks: "
            "pseudo_count, retrieval; the monitor's parameter 'chosen_chunk' names the one in use"
        ),
    ] = "",
    seed: Annotated[int, Option(min=0, max=MAX_SEED, help="of the folds and of the training")] = 0,
    max_disturbed_alarms: MaxDisturbedAlarms = None,
    report: ReportFolder = None,
) -> None:
    """Calibrate a rule on successful rollouts, and write the bundle that the monitor loads."""
    # Imported here, as in every command: help must not wait for what it does not need.
    from failure_monitor.calibration.from_sources import calibrate as calibrate_sources
    from failure_monitor.evaluation.dial_text import wish_text

    check_report(report)
    stated = actions.stated
    calibration = calibrate_sources(
        sources,
        output_folder,
        alpha=alpha,
        rule=rule,
        scores=names(scores),
        window=window,
        threshold=threshold,
        promise=promise,
        folds=folds,
        fit=fit or [],
        failures=failures or [],
        exclude=exclude,
        outcome_alpha=outcome_alpha,
        choose_by=names(choose_by),
        seed=seed,
        action_kind=stated.action_kind,
        position_names=stated.position_names,
        executed_actions=stated.executed_actions,
        control_period=stated.control_period,
        reading=reading.options,
        report=lambda text: progress.print(text, markup=False),
        progress=shown_progress,
    )
    output.print(promise_table(calibration.bundle))
    output.print(f"wrote {output_folder}", soft_wrap=True, markup=False)
    if max_disturbed_alarms is not None:
        wish = wish_beside_calibration(calibration, max_disturbed_alarms)
        if wish is not None:
            output.print(wish_text(wish), soft_wrap=True, markup=False)
    if report is not None:
        report_calibration(report, calibration, output_folder, reading.options.workers)
