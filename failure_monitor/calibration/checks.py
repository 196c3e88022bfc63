# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rejects rollouts and settings that calibration does not support."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from failure_monitor.calibration.description import decision_period
from failure_monitor.calibration.fitting.fit import require_training
from failure_monitor.calibration.outcome_fitting import DOUBTED
from failure_monitor.calibration.promised_tasks import by_task, naming
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.errors import UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.scores.probe import Probe
from failure_monitor.scores.registry import SCORES, score_named
from failure_monitor.thresholds.conformal import (
    CalibrationError,
    rank,
)

MAX_CHUNKS = 3
"""Number of chunks that would fit between two decisions above which that is told."""

MIN_TASKS = 2
"""For a promise across tasks: the models of a fold learn from the other tasks."""

MIN_FAILURES = 5
"""With fewer failures than this, what they have in common is mostly chance."""


def reject_interventions(rollouts: Sequence[Rollout]) -> None:
    """Reject rollouts in which a human intervened.

    Raises:
        CalibrationError: names them.
    """
    helped = [rollout.name for rollout in rollouts if rollout.has_intervention]
    if helped:
        raise CalibrationError(
            f"a human intervened in {len(helped)} of the rollouts ({list_names(helped)}), so "
            "that these are not the policy's alone: leave them out"
        )


def check_rollouts(
    rollouts: Sequence[Rollout],
    fit_rollouts: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
) -> None:
    """Reject rollouts that cannot set a threshold by these settings.

    Raises:
        CalibrationError: they are failures, too few, shared, or of tasks that are unknown.
        InvalidDecisionError: a decision is not of the policy's format.
        UsageError: a score or chooser does not exist.
    """
    for name in (*settings.scores, *settings.probed_scores):
        score_named(name)
    check_choosers(settings.choosers)
    require_training((*settings.scores, *settings.probed_scores, *settings.choosers))
    if not rollouts:
        raise CalibrationError(
            "no rollout is left to calibrate on: record successful ones, or check the outcomes "
            "that their source gives"
        )
    failed = [rollout.name for rollout in (*rollouts, *fit_rollouts) if rollout.success is False]
    if failed:
        raise CalibrationError(
            f"{len(failed)} of the rollouts failed ({list_names(failed)}): only successful "
            "ones can calibrate; leave these out"
        )
    of_each_task = by_task(rollouts)
    if settings.future:
        _check_groups(rollouts, settings)
    if settings.promise == "across-tasks":
        if len(of_each_task) < MIN_TASKS:
            named = ", ".join(sorted(of_each_task.keys() - {""}))
            raise CalibrationError(
                f"a promise across tasks needs rollouts of {MIN_TASKS} or more tasks, and these "
                f"{f'are of {named} alone' if named else 'name none'}: record others, or promise "
                "for each task"
            )
    else:
        for task, own in of_each_task.items():
            with naming(task):
                rank(len(own), settings.alpha)
    _reject_shared(rollouts, fit_rollouts)
    teachers = len(fit_rollouts or rollouts)
    folds = settings.folds_of(teachers)
    if teachers < folds or folds < 2:
        raise CalibrationError(
            f"{teachers} rollouts {'to fit on ' if fit_rollouts else ''}cannot be dealt into "
            f"{folds} folds: "
            + (
                f"set the folds to a number from 2 to {teachers}"
                if teachers > 1
                else "give 2 or more"
            )
        )
    # What a probe learns from is cross-fitted once more, without the fold that it will score.
    if settings.has_probe and teachers - math.ceil(teachers / folds) < 2:
        raise CalibrationError(
            f"{teachers} rollouts in {folds} folds leave one to fit the score "
            f"'{Probe.name}' on, which needs two: give more"
        )
    for rollout in (*rollouts, *fit_rollouts):
        rollout.check(policy)


def _check_groups(rollouts: Sequence[Rollout], settings: CalibrationSettings) -> None:
    if settings.promise == "across-tasks":
        raise CalibrationError(
            "a promise across tasks weighs every task the same, so that its rollouts cannot be "
            "weighed for groups to come, too: calibrate for each task"
        )
    unnamed = [rollout.name for rollout in rollouts if not rollout.group]
    if unnamed:
        raise CalibrationError(
            f"{len(unnamed)} of the rollouts name no group ({list_names(unnamed)}), so that it is "
            "unknown how much they weigh: name it (column 'group' of --labels)"
        )


def check_control_period(
    rollouts: Sequence[Rollout], policy: PolicyFormat, report: Callable[[str], None]
) -> None:
    """Reject a control period that is longer than the time between decisions.

    Raises:
        CalibrationError: by the stamps hardly any action would have been executed.
    """
    usual, period = decision_period(rollouts), policy.control_period
    if usual is None or period is None:
        return
    if usual < period / 2:
        raise CalibrationError(
            f"a decision comes every {usual:.3g} s, and the control period is {period:.3g} s, so "
            "that nothing would be executed in between: give the seconds from one executed action "
            "to the next (--control-period)"
        )
    executed = usual / period
    if executed > MAX_CHUNKS * policy.horizon:
        report(
            f"between two decisions, every {usual:.3g} s, {executed:.6g} control periods of "
            f"{period:.3g} s pass, and a chunk has {policy.horizon} actions: the robot waits for "
            "most of the time, or the control period is longer (--control-period)"
        )


def check_outcome_alpha(rollouts: Sequence[Rollout], settings: CalibrationSettings) -> None:
    """Reject a chance of doubted true successes that is too small for the rollouts of a task.

    Raises:
        CalibrationError: states how many rollouts it takes.
    """
    if settings.promise == "across-tasks":
        return
    for task, own in by_task(rollouts).items():
        with naming(task):
            try:
                rank(len(own), settings.outcome_alpha, DOUBTED)
            except CalibrationError as error:
                raise CalibrationError(f"the outcome check: {error}") from None


def check_choosers(names: Sequence[str]) -> None:
    """Reject names of scores by which no chunk can be chosen.

    Raises:
        UsageError: names the first of them.
    """
    able = sorted(name for name, score in SCORES.items() if hasattr(score, "score_samples"))
    for name in names:
        if name not in able:
            raise UsageError(
                f"'{name}' cannot be calibrated to choose among sampled chunks: choose by "
                f"{', '.join(able)}; medoid needs no calibration"
            )


def _reject_shared(rollouts: Sequence[Rollout], fit_rollouts: Sequence[Rollout]) -> None:
    if shared := _names_of_shared(rollouts, fit_rollouts):
        raise CalibrationError(
            f"{len(shared)} of the calibration rollouts are also among those to fit on "
            f"({list_names(shared)}): a rollout cannot calibrate scores that were fitted on it; "
            "leave each of them out on one side"
        )


def check_failures(
    failures: Sequence[Rollout],
    successes: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
) -> None:
    """Reject failures and a probe that do not fit together.

    Raises:
        CalibrationError: the failures succeeded, are too few, or are also among the successes.
        InvalidDecisionError: a decision is not of the policy's format.
        UsageError: the rule has a probe without failures or other scores, or failures without one.
    """
    if failures and not settings.has_probe:
        raise UsageError(
            f"{len(failures)} failures are given, and none of the scores "
            f"{', '.join(settings.scores)} learns from failures: add the score '{Probe.name}', or "
            "give no failures"
        )
    if not settings.has_probe:
        return
    if not failures:
        raise UsageError(
            f"the score '{Probe.name}' learns from failed rollouts: give some as failures "
            "(--failures), or leave it out of the rule"
        )
    if not settings.probed or Probe.name in settings.probed:
        raise UsageError(
            f"the score '{Probe.name}' weighs other scores: name at least one beside it"
        )
    _check_failed(failures, successes)
    for rollout in failures:
        rollout.check(policy)


def _check_failed(failures: Sequence[Rollout], successes: Sequence[Rollout]) -> None:
    succeeded = [rollout.name for rollout in failures if rollout.success]
    if succeeded:
        raise CalibrationError(
            f"{len(succeeded)} of the failures succeeded ({list_names(succeeded)}): leave these "
            "out"
        )
    if shared := _names_of_shared(failures, successes):
        raise CalibrationError(
            f"{len(shared)} of the failures are also among the rollouts to calibrate or to fit on "
            f"({list_names(shared)}): a rollout either failed or succeeded; leave each of them "
            "out on one side"
        )
    if len(failures) < MIN_FAILURES:
        raise CalibrationError(
            f"{len(failures)} failures are too few to learn from: give {MIN_FAILURES} or more, "
            "or calibrate without any"
        )


def _names_of_shared(rollouts: Sequence[Rollout], others: Sequence[Rollout]) -> list[str]:
    known = {rollout.sha256 for rollout in others} - {""}
    return [rollout.name for rollout in rollouts if rollout.sha256 in known]
