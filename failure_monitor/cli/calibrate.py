# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from failure_monitor.bundle import bundle
from failure_monitor.cli.app import app, output, plain_errors, progress
from failure_monitor.cli.options import Reading, Sources, StatedActions, names, with_options
from failure_monitor.cli.promise import promise_table
from failure_monitor.cli.report import ReportFolder, check_report, report_calibration
from failure_monitor.errors import UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.scores.probe import Probe
from failure_monitor.scores.registry import DEFAULT_SCORES, score_named
from failure_monitor.thresholds.conformal import RULES, THRESHOLD_KINDS, Rule, ThresholdKind

if TYPE_CHECKING:
    from failure_monitor.sources.rollout_set import RolloutSet

FIPER_SCORES = ("rnd_oe", "ace")
"""What the rule `fiper` means: all of these."""


@app.command()
@plain_errors
@with_options
def calibrate(
    sources: Sources,
    reading: Reading,
    actions: StatedActions,
    output_folder: Annotated[
        Path, typer.Option("--output", help="the bundle to write, a folder for the monitor node")
    ],
    alpha: Annotated[
        float, typer.Option(help="the chance that a successful rollout ever raises an alarm")
    ] = 0.1,
    rule: Annotated[
        str,
        typer.Option(
            help=f"how scores combine: {', '.join(RULES)}; fiper: all of {', '.join(FIPER_SCORES)}"
        ),
    ] = "mean",
    scores: Annotated[
        str,
        typer.Option(
            help="comma-separated names of the rule's scores; default: those of "
            f"{', '.join(DEFAULT_SCORES)} that the policy allows"
        ),
    ] = "",
    window: Annotated[
        int, typer.Option(min=1, help="over how many decisions a score is averaged")
    ] = 3,
    threshold: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(THRESHOLD_KINDS)} with the decision's number in its rollout"
        ),
    ] = "constant",
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="parts for cross-fitting by rollout; default: 10, or one for each of fewer",
        ),
    ] = None,
    fit: Annotated[
        list[Path] | None,
        typer.Option(
            help="sources of other successful rollouts to fit the scores on (may be given more "
            "than once); without it the calibration rollouts are cross-fitted"
        ),
    ] = None,
    failures: Annotated[
        list[Path] | None,
        typer.Option(
            help="sources of failed rollouts (may be given more than once); the score probe, which "
            "learns from them how to weigh the rule's scores, then joins these; with "
            "--scores probe it is the rule"
        ),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(help="a list of what to leave out, as `failure-monitor audit --drop` writes"),
    ] = None,
    choose_by: Annotated[
        str,
        typer.Option(
            help="comma-separated names of scores that may choose among sampled chunks: "
            "pseudo_count, retrieval; which does, the monitor node's 'chosen_chunk' says"
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="of the folds and of the training")] = 0,
    report: ReportFolder = None,
) -> None:
    """Calibrate a rule on successful rollouts, and write the bundle that the monitor loads."""
    # Imported here, as in every command: help must not wait for what it does not need.
    from failure_monitor.calibration.calibrate import (
        CalibrationSettings,
        choose,
        choose_failures,
        default_scores,
    )
    from failure_monitor.calibration.calibrate import calibrate as calibrate_rule
    from failure_monitor.sources.exclusions import Exclusions, read_exclusions
    from failure_monitor.sources.replay_models import unchanged_files

    check_report(report)
    threshold_kind = _threshold_kind(threshold)
    rule_of_scores, named = _rule(rule, names(scores))
    if failures and rule == "fiper":
        raise UsageError(
            "the rule 'fiper' learns nothing from failures: choose the rule "
            f"{', '.join(RULES)}, or give no --failures"
        )
    exclusions = Exclusions() if exclude is None else read_exclusions(exclude)
    groups = [
        exclusions.remaining_sources(sources),
        exclusions.remaining_sources(fit or []),
        failures or [],
    ]
    with unchanged_files(reading.black_box) as (encoder, sampler):
        read = reading.read_groups(groups, **actions.stated)
    if encoder is not None or sampler is not None:
        _refuse_from_no_bag(read)
    rollout_set, to_fit_on, given_failures = read
    chosen, remarks = choose(exclusions.remaining_rollouts(rollout_set.rollouts))
    fit_rollouts, fit_remarks = choose(exclusions.remaining_rollouts(to_fit_on.rollouts))
    failed, failure_remarks = choose_failures(given_failures.rollouts)
    remarks += [f"to fit on: {remark}" for remark in fit_remarks]
    remarks += [f"failures: {remark}" for remark in failure_remarks]
    default: tuple[str, ...] = ()
    if not set(named) - {Probe.name} and chosen:
        default, undefined = default_scores(fit_rollouts or chosen, rollout_set.policy)
        remarks += undefined
    score_names = named or default
    if failed and Probe.name not in score_names:
        score_names = (*score_names, Probe.name)
        remarks.append(
            f"the score {Probe.name}, which learns from {len(failed)} failures, joins the rule"
        )
    for remark in remarks:
        progress.print(remark, markup=False)
    settings = CalibrationSettings(
        scores=score_names,
        probed_scores=default,
        rule=rule_of_scores,
        alpha=alpha,
        window=window,
        threshold=threshold_kind,
        folds=folds,
        seed=seed,
        jobs=reading.processes,
        choosers=names(choose_by),
    )
    calibrated = calibrate_rule(
        chosen,
        rollout_set.policy,
        settings,
        fit_rollouts=fit_rollouts,
        failures=failed,
        report=lambda step: progress.print(step),
    )
    calibrated = bundle.with_external_topics(calibrated, reading.topics.external)
    calibrated = bundle.with_positions_topic(calibrated, rollout_set.positions_topic)
    calibrated = bundle.with_models(
        calibrated,
        encoder,
        sampler,
        cameras=reading.black_box.cameras,
        observation_rate=reading.black_box.rate or 0.0,
        matching_tolerance=reading.black_box.tolerance,
        noise_seed=reading.black_box.seed,
    )
    bundle.save(calibrated, output_folder)
    output.print(promise_table(calibrated))
    output.print(f"wrote {output_folder}", soft_wrap=True, markup=False)
    if report is not None:
        report_calibration(
            report, calibrated, output_folder, rollout_set, chosen, reading.processes
        )


def _refuse_from_no_bag(read: Sequence[RolloutSet]) -> None:
    """Refuse decisions that the models which go into the bundle did not make."""
    strange = [
        rollout.name
        for each in read
        for rollout in each.rollouts
        if rollout.sha256 not in each.receptions
    ]
    if strange:
        raise UsageError(
            f"{len(strange)} of the rollouts come from no bag ({list_names(strange)}), and "
            "'--encoder' and '--sampler' are run on bags alone, so nobody knows what made these: "
            "give the bags, or leave the models out"
        )


def _rule(rule: str, scores: tuple[str, ...]) -> tuple[Rule, tuple[str, ...]]:
    """How scores combine, and their names; none where the default is left to the policy."""
    if rule == "fiper":
        if scores and set(scores) != set(FIPER_SCORES):
            raise UsageError(
                f"the rule 'fiper' is all of {', '.join(FIPER_SCORES)}; for the scores "
                f"{', '.join(scores)} choose the rule {', '.join(RULES)}"
            )
        return "all", FIPER_SCORES
    for known in RULES:
        if rule == known:
            for name in scores:
                score_named(name)
            return known, scores
    raise UsageError(f"there is no rule '{rule}': choose fiper, {', '.join(RULES)}")


def _threshold_kind(text: str) -> ThresholdKind:
    for known in THRESHOLD_KINDS:
        if text == known:
            return known
    raise UsageError(f"there is no threshold '{text}': choose {', '.join(THRESHOLD_KINDS)}")
