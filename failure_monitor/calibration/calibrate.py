# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration: successful rollouts in, a bundle out.

Every rollout sets the threshold with scores that were fitted without it. Either the scores are
fitted on other rollouts altogether, or the calibration rollouts are dealt into folds, and each
fold is scored by what the other folds taught (cross-fitting by rollout). The bundle holds these
very models of every fold, and compares a running rollout with each calibration rollout by the
models that learned from neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.bundle.additions import with_outcome_check
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import (
    RolloutSection,
    ScoreSection,
    checked,
)
from failure_monitor.calibration.checks import (
    check_control_period,
    check_failures,
    check_rollouts,
    reject_interventions,
)
from failure_monitor.calibration.cross_fitting import (
    FittedScores,
    HeldOutScores,
    ProbeRecipe,
    Recipe,
    Series,
    cross_fit,
)
from failure_monitor.calibration.description import describe
from failure_monitor.calibration.horizon import calibrate_horizon
from failure_monitor.calibration.outcome_fitting import RULE as OUTCOME_RULE
from failure_monitor.calibration.outcome_fitting import end_settings, fit_outcome_check
from failure_monitor.calibration.plan_age import longest_plan_age
from failure_monitor.calibration.promised_tasks import (
    by_task,
    naming,
    of_promises,
    tasks_across,
    without_tasks,
)
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.executors.executor import Executor
from failure_monitor.executors.process_executor import ProcessExecutor
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.thresholds.conformal import (
    Rule,
    Scale,
    ThresholdKind,
    combine,
    smallest_alpha,
)
from failure_monitor.thresholds.paired_threshold import (
    PairedThreshold,
    paired_threshold,
)
from failure_monitor.thresholds.time_varying import TimeVaryingScale
from failure_monitor.thresholds.value_limits import ValueLimits

SCALES: Mapping[ThresholdKind, type[Scale]] = {
    "constant": Scale,
    "time-varying": TimeVaryingScale,
}

MAX_PROBE_FOLDS = 5
"""Within each fold the score `probe` cross-fits once more: what it learns from needs to be unseen,
not just as unseen as a future rollout."""


def calibrate(
    rollouts: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
    *,
    fit_rollouts: Sequence[Rollout] = (),
    failures: Sequence[Rollout] = (),
    delays: Mapping[str, NDArray[np.float64]] = MappingProxyType({}),
    executor: Executor | None = None,
    report: Callable[[str], None] = lambda step: None,
) -> Bundle:
    """Fit the scores and calibrate their joint threshold.

    Where rollouts name their tasks there is a limit for each, set by its own rollouts, so that
    the promise holds in every task (Mondrian; Vovk, Gammerman and Shafer, section 4.5). Scores
    and scales are of all tasks together.

    Across tasks there is one promise for rollouts of any task: tasks are exchangeable then, each
    weighs the same, and folds are of whole tasks (`weights_across_tasks`).

    Without rollouts to fit on, the calibration rollouts are cross-fitted: each fold is scored and
    brought to scale by the others, and so is a running rollout where it is compared with those of
    this fold (`PairedThreshold`).

    With them, scores and scale come from these rollouts alone, so that to the frozen rule
    calibration rollouts and future ones are alike: the promise is then exact. A scale from the
    calibration rollouts would make it approximate. The scale is that of the fitting rollouts'
    cross-fitted scores, since a score is too low on what it was fitted on, some much more than
    others, and a rule over scores so scaled would listen to these alone.

    Failures teach the score `probe` and nothing else, up to where a human intervened. They set no
    threshold, and the probe is cross-fitted or frozen like any score, so the promise is the same
    with them.

    Args:
        rollouts: successful ones, exchangeable with the successful ones to come.
        policy: the format of their decisions.
        settings: what to calibrate.
        fit_rollouts: successful ones to fit the scores on; none means the calibration rollouts.
            They need not be like those to come, but a rule over them detects the better if so.
        failures: failed ones, for the score `probe` to learn from.
        delays: seconds from each decision's stamp to its reception, (T,), by the SHA-256 of its
            rollout, where they are known.
        executor: what fits and scores; None for as many processes as the settings have jobs.
        report: receives each step, a sentence.

    Raises:
        CalibrationError: the rollouts do not support these settings.
        InvalidDecisionError: a decision is not of the policy's format.
        ScoreUndefinedError: a score means nothing for this policy.
        UsageError: a score does not exist, or the score `probe` lacks what it is made of.
    """
    reject_interventions((*rollouts, *fit_rollouts))
    failures = [rollout.policys_part for rollout in failures]
    check_rollouts(rollouts, fit_rollouts, policy, settings)
    check_failures(failures, (*rollouts, *fit_rollouts), policy, settings)
    check_control_period(rollouts, policy, report)
    recipe, folds = _recipe(rollouts, fit_rollouts, failures, policy, settings)
    executor = executor or ProcessExecutor(settings.jobs)
    teachers = fit_rollouts or rollouts
    held_out = cross_fit(
        teachers,
        recipe,
        folds=folds,
        executor=executor,
        whole_tasks=_has_whole_tasks(fit_rollouts, settings),
        report=report,
    )
    fitted = (
        _frozen(rollouts, fit_rollouts, recipe, held_out, settings, executor, report)
        if fit_rollouts
        else _Fitted.of_other_folds(held_out, SCALES[settings.threshold])
    )
    thresholds = _thresholds(rollouts, fitted, settings)
    description = replace(
        describe(rollouts, fit_rollouts, failures, policy, settings, thresholds, fitted.scores),
        folds=int(held_out.folds.max()) + 1,
    )
    further = tuple(name for name in settings.choosers if name not in settings.scores)
    choosers = replace(recipe, scores=further).fit(teachers)
    by_promise = of_promises(rollouts, settings)
    description = replace(
        description,
        calibration=_with_largest(
            description.calibration, fitted, thresholds, by_promise, settings
        ),
        longest_plan_age=longest_plan_age(rollouts, delays),
        steering=calibrate_horizon(
            rollouts if settings.promise == "per-task" else without_tasks(rollouts),
            fit_rollouts,
            policy,
            folds=held_out.folds,
            alpha=max(settings.alpha, smallest_alpha(min(map(len, by_promise.values())))),
        ),
        choosers=tuple(
            ScoreSection(name=score.name, parameters=score.state().parameters)
            for score in choosers
        ),
    )
    limits = ValueLimits.of_rollouts((*rollouts, *fit_rollouts))
    scale = Scale.of_folds(fitted.scales)
    bundle = Bundle(checked(description), fitted.scores, scale, limits, choosers)
    if not settings.outcome_alpha:
        return bundle
    ends = end_settings((*rollouts, *fit_rollouts), policy, fitted.scores, settings.outcome_alpha)
    check = fit_outcome_check(
        rollouts,
        fitted.folds,
        policy,
        replace(ends, future=settings.future, across_tasks=settings.promise == "across-tasks"),
        fit_rollouts,
        held_out.folds if fit_rollouts else None,
    )
    for task, reason in check.unknown.items():
        report(f"the outcome check judges no end{f' of {task}' if task else ''}: {reason}")
    return with_outcome_check(bundle, check, OUTCOME_RULE)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Fitted scores and scales, and what they make of the calibration rollouts.

    Attributes:
        scores: the fitted scores, each with the models of F folds.
        scales: the scale of each fold.
        series: the windowed scores of every calibration rollout, by models that are new to it.
        folds: the fold of every calibration rollout, (n,).
    """

    scores: tuple[FoldedScore, ...]
    scales: Sequence[Scale]
    series: Sequence[Series]
    folds: NDArray[np.int64]

    @classmethod
    def of_other_folds(cls, held_out: HeldOutScores, kind: type[Scale]) -> _Fitted:
        """Return what cross-fitting gives: each fold is scored and scaled by the others."""
        scales = scales_of_other_folds(held_out, kind)
        return cls(held_out.scores, scales, list(held_out.series), held_out.folds)


def _frozen(
    rollouts: Sequence[Rollout],
    fit_rollouts: Sequence[Rollout],
    recipe: Recipe,
    held_out: HeldOutScores,
    settings: CalibrationSettings,
    executor: Executor,
    report: Callable[[str], None],
) -> _Fitted:
    """Return scores and one scale of rollouts to fit on, whose held-out scores are given."""
    report(f"fitting the scores on all {len(fit_rollouts)} rollouts, scoring the {len(rollouts)}")
    scores = tuple(FoldedScore([score]) for score in recipe.fit(fit_rollouts))
    series = executor.map(
        FittedScores.of_rollout,
        FittedScores(scores, settings.window),
        rollouts,
        sizes=[len(each) for each in rollouts],
    )
    scale = SCALES[settings.threshold].fit(held_out.series)
    return _Fitted(scores, [scale], series, np.zeros(len(rollouts), dtype=np.int64))


def _recipe(
    rollouts: Sequence[Rollout],
    fit_rollouts: Sequence[Rollout],
    failures: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
) -> tuple[Recipe, int]:
    """Return what is fitted, and in how many folds."""
    folds = settings.folds_of(len(fit_rollouts or rollouts))
    if _has_whole_tasks(fit_rollouts, settings):
        folds = min(folds, len(by_task(rollouts)))
    probe = ProbeRecipe(settings.probed, tuple(failures), min(folds, MAX_PROBE_FOLDS))
    return Recipe(policy, settings.scores, settings.window, settings.seed, probe), folds


def _has_whole_tasks(fit_rollouts: Sequence[Rollout], settings: CalibrationSettings) -> bool:
    """Return whether folds are of whole tasks."""
    return settings.promise == "across-tasks" and not fit_rollouts


def _thresholds(
    rollouts: Sequence[Rollout], fitted: _Fitted, settings: CalibrationSettings
) -> dict[str, PairedThreshold]:
    """Return the threshold of each promise, by its task."""
    maxima = largest_numbers(fitted.series, fitted.scales, fitted.folds, settings.rule)
    thresholds = {}
    for task, own in of_promises(rollouts, settings).items():
        with naming(task):
            thresholds[task] = paired_threshold(
                settings.rule,
                fitted.scales,
                maxima[own],
                fitted.folds[own],
                settings.alpha,
                tasks=tasks_across(rollouts, settings),
                groups=[rollouts[place].group for place in own],
                future=settings.future,
            )
    return thresholds


def _with_largest(
    sections: Sequence[RolloutSection],
    fitted: _Fitted,
    thresholds: Mapping[str, PairedThreshold],
    places_of: Mapping[str, NDArray[np.int64]],
    settings: CalibrationSettings,
) -> tuple[RolloutSection, ...]:
    """Return the sections of the calibration rollouts, with what each one reached."""
    whole = list(sections)
    for task, places in places_of.items():
        for place in places.tolist():
            fold = int(fitted.folds[place])
            own = _largest(fitted.series[place], fold, thresholds[task], settings.scores)
            whole[place] = replace(whole[place], **own)
    return tuple(whole)


def largest_numbers(
    series: Sequence[Series], scales: Sequence[Scale], folds: NDArray[np.int64], rule: Rule
) -> NDArray[np.float64]:
    """Return c_i, the maximum over time of each rollout's combined number; (n,).

    Args:
        series: the windowed scores of every rollout.
        scales: of each fold.
        folds: the fold of every rollout.
        rule: how the scores combine.
    """
    return np.array(
        [
            float(combine(rule, scales[fold].at(np.arange(len(own)))(own)).max())
            for own, fold in zip(series, folds, strict=True)
        ]
    )


def scales_of_other_folds(held_out: HeldOutScores, kind: type[Scale]) -> list[Scale]:
    """Return the scale of each fold, fitted on the scores of the other folds."""
    return [kind.fit(held_out.of_all_but(fold)) for fold in range(held_out.folds.max() + 1)]


def _largest(
    series: Series, fold: int, threshold: PairedThreshold, scores: Sequence[str]
) -> dict[str, Any]:
    """Return the largest level and normalised scores of a rollout, for its section in the bundle.

    They are those by the models of its own fold, compared with the k-th smallest limit: the level
    exceeds 1 just where the rollout's own limit exceeds that.
    """
    scale = threshold.scale.at(np.arange(len(series)))
    own = PairedThreshold.of_one_limit(
        threshold.rule,
        Scale(scale.centre[..., fold, :], scale.spread[..., fold, :]),
        threshold.limit,
    )
    thresholds = np.where(own.thresholds > 0, own.thresholds, np.nan)
    normalised = series / thresholds
    return {
        "max_level": round(float(own.level(series[:, np.newaxis]).max()), 9),
        "max_normalised_scores": {
            name: round(float(np.nanmax(column)), 9)
            for name, column in zip(scores, normalised.T, strict=True)
            if not np.isnan(column).all()
        },
    }
