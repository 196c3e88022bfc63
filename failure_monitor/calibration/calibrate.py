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

import datetime
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor import __version__
from failure_monitor.bundle.additions import with_outcome_check
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import (
    SCHEMA_VERSION,
    BundleDescription,
    PolicySection,
    PromiseSection,
    RolloutSection,
    ScoreSection,
    checked,
)
from failure_monitor.calibration.cross_fitting import (
    FittedScores,
    HeldOutScores,
    ProbeRecipe,
    Recipe,
    Series,
    cross_fit,
)
from failure_monitor.calibration.fitting.fit import require_training
from failure_monitor.calibration.horizon import calibrate_horizon
from failure_monitor.calibration.outcome_fitting import DOUBTED, end_settings, fit_outcome_check
from failure_monitor.calibration.outcome_fitting import RULE as OUTCOME_RULE
from failure_monitor.calibration.plan_age import longest_plan_age
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.errors import UsageError
from failure_monitor.executors.executor import Executor
from failure_monitor.executors.process_executor import ProcessExecutor
from failure_monitor.listed_names import list_names
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.probe import Probe
from failure_monitor.scores.registry import DEFAULT_SCORES, SCORES, score_named
from failure_monitor.thresholds.conformal import (
    CalibrationError,
    PromiseKind,
    Rule,
    Scale,
    ThresholdKind,
    combine,
    false_alarm_interval,
    rank,
    smallest_alpha,
)
from failure_monitor.thresholds.paired_threshold import (
    PairedThreshold,
    effective_number,
    paired_threshold,
)
from failure_monitor.thresholds.time_varying import TimeVaryingScale
from failure_monitor.thresholds.value_limits import ValueLimits

SCALES: Mapping[ThresholdKind, type[Scale]] = {
    "constant": Scale,
    "time-varying": TimeVaryingScale,
}

USUAL_FOLDS = 10
"""With five, scores learn from a fifth fewer rollouts than the bundle's do, and the false-alarm
rate falls well below what is promised: docs/detection_appendix.md."""
MAX_PROBE_FOLDS = 5
"""Within each fold the score `probe` cross-fits once more: what it learns from needs to be unseen,
not just as unseen as a future rollout."""

OUTCOME_ALPHA = 0.1
"""The usual chance that the outcome check doubts a true success."""

MAX_GAP = 5.0
"""Factor of the usual time between decisions above which a gap is a pause, and no example."""

MAX_CHUNKS = 3
"""Number of chunks that would fit between two decisions above which that is told."""

MIN_TASKS = 2
"""For a promise across tasks: the models of a fold learn from the other tasks."""

MIN_FAILURES = 5
"""With fewer failures than this, what they have in common is mostly chance."""


@dataclass(frozen=True)
class CalibrationSettings:
    """What to calibrate, and how.

    Attributes:
        scores: the names of the rule's scores.
        rule: how they combine.
        alpha: the promised false-alarm rate.
        window: over how many decisions a score is averaged.
        threshold: constant, or time-varying with the decision's number in its rollout.
        folds: into how many parts the rollouts that scores are fitted on are dealt for
            cross-fitting; None means 10, or as many as there are rollouts.
        seed: of the dealing and of the training.
        jobs: how many processes fit at a time.
        probed_scores: the names of the scores that the score `probe` weighs; none means the
            rule's other scores.
        choosers: the names of scores to choose among sampled chunks by, whether or not they are
            part of the rule.
        promise: for rollouts of each task, or across tasks for those of any task, also of one
            that was never seen.
        future: the shares of groups among successful rollouts to come, where these are not as
            here; calibration rollouts are weighed for them then.
        outcome_alpha: the chance that the outcome check doubts a true success; 0 for no check.
    """

    scores: tuple[str, ...] = DEFAULT_SCORES
    rule: Rule = "mean"
    alpha: float = 0.1
    window: int = 3
    threshold: ThresholdKind = "constant"
    folds: int | None = None
    seed: int = 0
    jobs: int = 2
    probed_scores: tuple[str, ...] = ()
    choosers: tuple[str, ...] = ()
    promise: PromiseKind = "per-task"
    future: Mapping[str, float] = field(default_factory=dict)
    outcome_alpha: float = OUTCOME_ALPHA

    def folds_of(self, rollouts: int) -> int:
        """Into how many parts so many rollouts are dealt."""
        return max(2, min(USUAL_FOLDS, rollouts)) if self.folds is None else self.folds

    @property
    def has_probe(self) -> bool:
        """Whether the score `probe` is part of the rule."""
        return Probe.name in self.scores

    @property
    def probed(self) -> tuple[str, ...]:
        """The names of the scores that the score `probe` weighs."""
        others = tuple(name for name in self.scores if name != Probe.name)
        return self.probed_scores or others


def choose(rollouts: Sequence[Rollout]) -> tuple[list[Rollout], list[str]]:
    """Return the rollouts that may calibrate, and remarks on what was left out or assumed.

    Where a source sets rollouts apart for calibration, those of them that succeeded are taken.
    Elsewhere all are that did not fail: one without an outcome counts as successful. One in which
    a human intervened is none of the policy's alone.
    """
    remarks = []
    apart = [rollout for rollout in rollouts if rollout.calibration is False]
    failed = [
        rollout
        for rollout in rollouts
        if rollout.calibration is not False
        and (rollout.success is False or (rollout.calibration and not rollout.success))
    ]
    if apart:
        remarks.append(f"{len(apart)} rollouts that their source keeps for tests are left out")
    if failed:
        remarks.append(
            f"{len(failed)} of {len(rollouts)} rollouts failed, by what is known of them, and are "
            f"left out ({list_names([rollout.name for rollout in failed])})"
        )
    others = {id(rollout) for rollout in (*apart, *failed)}
    helped = [r for r in rollouts if r.has_intervention and id(r) not in others]
    if helped:
        remarks.append(
            f"a human intervened in {len(helped)} of {len(rollouts)} rollouts, which are left out "
            f"({list_names([rollout.name for rollout in helped])})"
        )
    left_out = {id(rollout) for rollout in (*apart, *failed, *helped)}
    chosen = [rollout for rollout in rollouts if id(rollout) not in left_out]
    unlabelled = [rollout for rollout in chosen if rollout.success is None]
    if unlabelled:
        remarks.append(f"{len(unlabelled)} rollouts without an outcome are taken as successful")
    return chosen, remarks


def choose_failures(rollouts: Sequence[Rollout]) -> tuple[list[Rollout], list[str]]:
    """Return the rollouts that the score `probe` may learn from as failures, and remarks.

    Those that succeeded are left out; one without an outcome counts as a failure, as its owner
    gave it as one. One in which a human intervened failed there, whatever the human made of it.

    Raises:
        CalibrationError: all of them succeeded.
    """
    remarks = []
    chosen = [part for part in (each.policys_part for each in rollouts) if not part.success]
    if rollouts and not chosen:
        raise CalibrationError(
            f"all {len(rollouts)} rollouts given as failures succeeded: give some that failed"
        )
    if len(chosen) < len(rollouts):
        remarks.append(f"{len(rollouts) - len(chosen)} rollouts that succeeded are left out")
    unlabelled = [rollout for rollout in chosen if rollout.success is None]
    if unlabelled:
        remarks.append(f"{len(unlabelled)} rollouts without an outcome are taken as failed")
    return chosen, remarks


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
    _reject_interventions((*rollouts, *fit_rollouts))
    failures = [rollout.policys_part for rollout in failures]
    _check(rollouts, fit_rollouts, policy, settings)
    _check_failures(failures, (*rollouts, *fit_rollouts), policy, settings)
    check_control_period(rollouts, policy, report)
    teachers = fit_rollouts or rollouts
    folds = settings.folds_of(len(teachers))
    whole_tasks = settings.promise == "across-tasks" and not fit_rollouts
    if whole_tasks:
        folds = min(folds, len(_by_task(rollouts)))
    probe = ProbeRecipe(settings.probed, tuple(failures), min(folds, MAX_PROBE_FOLDS))
    recipe = Recipe(policy, settings.scores, settings.window, settings.seed, probe)
    executor = executor or ProcessExecutor(settings.jobs)
    held_out = cross_fit(
        teachers,
        recipe,
        folds=folds,
        executor=executor,
        whole_tasks=whole_tasks,
        report=report,
    )
    kind = SCALES[settings.threshold]
    if fit_rollouts:
        report(f"fitting the scores on all {len(teachers)} rollouts, scoring the {len(rollouts)}")
        scores = tuple(FoldedScore([score]) for score in recipe.fit(teachers))
        scales: Sequence[Scale] = [kind.fit(held_out.series)]
        fixed = FittedScores(scores, settings.window)
        calibration = executor.map(
            FittedScores.of_rollout, fixed, rollouts, sizes=[len(each) for each in rollouts]
        )
        folds_of_rollouts = np.zeros(len(rollouts), dtype=np.int64)
    else:
        scores, scales = held_out.scores, scales_of_other_folds(held_out, kind)
        calibration, folds_of_rollouts = list(held_out.series), held_out.folds
    maxima = largest_numbers(calibration, scales, folds_of_rollouts, settings.rule)
    thresholds: dict[str, PairedThreshold] = {}
    by_promise = _of_promises(rollouts, settings)
    own_threshold: dict[int, PairedThreshold] = {}
    for task, own in by_promise.items():
        with _naming(task):
            thresholds[task] = paired_threshold(
                settings.rule,
                scales,
                maxima[own],
                folds_of_rollouts[own],
                settings.alpha,
                tasks=_tasks_across(rollouts, settings),
                groups=[rollouts[place].group for place in own],
                future=settings.future,
            )
        own_threshold |= dict.fromkeys(own.tolist(), thresholds[task])
    description = _describe(rollouts, fit_rollouts, failures, policy, settings, thresholds, scores)
    description = replace(description, folds=int(held_out.folds.max()) + 1)
    of_calibration = tuple(
        replace(section, **_largest(series, int(fold), own_threshold[place], settings.scores))
        for place, (section, series, fold) in enumerate(
            zip(description.calibration, calibration, folds_of_rollouts, strict=True)
        )
    )
    further = tuple(name for name in settings.choosers if name not in settings.scores)
    choosers = replace(recipe, scores=further).fit(teachers)
    description = replace(
        description,
        calibration=of_calibration,
        longest_plan_age=longest_plan_age(rollouts, delays),
        steering=calibrate_horizon(
            rollouts if settings.promise == "per-task" else _without_tasks(rollouts),
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
    scale = Scale.of_folds(scales)
    bundle = Bundle(checked(description), scores, scale, limits, choosers)
    if not settings.outcome_alpha:
        return bundle
    ends = end_settings((*rollouts, *fit_rollouts), policy, scores, settings.outcome_alpha)
    check = fit_outcome_check(
        rollouts,
        folds_of_rollouts,
        policy,
        replace(ends, future=settings.future, across_tasks=settings.promise == "across-tasks"),
        fit_rollouts,
        held_out.folds if fit_rollouts else None,
    )
    for task, reason in check.unknown.items():
        report(f"the outcome check judges no end{f' of {task}' if task else ''}: {reason}")
    return with_outcome_check(bundle, check, OUTCOME_RULE)


def _reject_interventions(rollouts: Sequence[Rollout]) -> None:
    helped = [rollout.name for rollout in rollouts if rollout.has_intervention]
    if helped:
        raise CalibrationError(
            f"a human intervened in {len(helped)} of the rollouts ({list_names(helped)}), which "
            "are none of the policy's alone: leave them out"
        )


def _check(
    rollouts: Sequence[Rollout],
    fit_rollouts: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
) -> None:
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
    by_task = _by_task(rollouts)
    if settings.future:
        _check_groups(rollouts, settings)
    if settings.promise == "across-tasks":
        if len(by_task) < MIN_TASKS:
            named = ", ".join(sorted(by_task.keys() - {""}))
            raise CalibrationError(
                f"a promise across tasks needs rollouts of {MIN_TASKS} or more tasks, and these "
                f"{f'are of {named} alone' if named else 'name none'}: record others, or promise "
                "for each task"
            )
    else:
        for task, own in by_task.items():
            with _naming(task):
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
    usual, period = _decision_period(rollouts), policy.control_period
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
    for task, own in _by_task(rollouts).items():
        with _naming(task):
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
    fitted = {rollout.sha256 for rollout in fit_rollouts} - {""}
    shared = [rollout.name for rollout in rollouts if rollout.sha256 in fitted]
    if shared:
        raise CalibrationError(
            f"{len(shared)} of the calibration rollouts are also among those to fit on "
            f"({list_names(shared)}): a rollout cannot calibrate scores that were fitted on it; "
            "leave each of them out on one side"
        )


def _check_failures(
    failures: Sequence[Rollout],
    successes: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
) -> None:
    """Reject failures and a probe that do not fit together."""
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
    known = {rollout.sha256 for rollout in successes} - {""}
    shared = [rollout.name for rollout in failures if rollout.sha256 in known]
    if shared:
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


def _of_promises(
    rollouts: Sequence[Rollout], settings: CalibrationSettings
) -> dict[str, NDArray[np.int64]]:
    """Return the indices of the rollouts of each promise; one across tasks has no name."""
    if settings.promise == "across-tasks":
        return {"": np.arange(len(rollouts))}
    return _by_task(rollouts)


def _tasks_across(rollouts: Sequence[Rollout], settings: CalibrationSettings) -> list[str]:
    """Return the task of each rollout, for a promise across tasks; else none."""
    across = settings.promise == "across-tasks"
    return [rollout.task for rollout in rollouts] if across else []


def _without_tasks(rollouts: Sequence[Rollout]) -> list[Rollout]:
    return [replace(rollout, task="") for rollout in rollouts]


def _by_task(rollouts: Sequence[Rollout]) -> dict[str, NDArray[np.int64]]:
    """Return the indices of each task's rollouts; unnamed tasks are one task without a name."""
    tasks = np.array([rollout.task for rollout in rollouts])
    names = [str(task) for task in np.unique(tasks)]
    if len(names) > 1 and "" in names:
        unnamed = [rollout.name for rollout in rollouts if not rollout.task]
        raise CalibrationError(
            f"{len(unnamed)} of the rollouts name no task ({list_names(unnamed)}), others are "
            f"of {', '.join(names[1:])}: name the task of all or of none"
        )
    return {task: np.flatnonzero(tasks == task) for task in names}


@contextmanager
def _naming(task: str) -> Iterator[None]:
    """Add the task's name to errors."""
    try:
        yield
    except CalibrationError as error:
        raise CalibrationError(f"task '{task}': {error}" if task else str(error)) from None


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


def _describe(
    rollouts: Sequence[Rollout],
    fit_rollouts: Sequence[Rollout],
    failures: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
    thresholds: Mapping[str, PairedThreshold],
    scores: Sequence[FoldedScore],
) -> BundleDescription:
    of_each = _of_promises(rollouts, settings)
    tasks = len(_by_task(rollouts)) if settings.promise == "across-tasks" else None
    return BundleDescription(
        schema_version=SCHEMA_VERSION,
        tool_version=__version__,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        policy=PolicySection(**vars(policy)),
        rule=settings.rule,
        window=settings.window,
        threshold=settings.threshold,
        promise=settings.promise,
        future=settings.future,
        alpha=settings.alpha,
        scores=tuple(
            ScoreSection(name=score.name, parameters=score.state().parameters) for score in scores
        ),
        promises=tuple(
            _promise(task, threshold, len(of_each[task]), tasks, settings)
            for task, threshold in thresholds.items()
        ),
        folds=settings.folds_of(len(fit_rollouts or rollouts)),
        seed=settings.seed,
        decision_period=_decision_period(rollouts),
        longest_decision_gap=_longest_decision_gap(rollouts),
        calibration=_with_limits(rollouts, thresholds, of_each),
        fit=_listed(fit_rollouts),
        failures=_listed(failures),
    )


def _decision_period(rollouts: Sequence[Rollout]) -> float | None:
    """Return the median time from a decision to the next, in seconds; None without stamps."""
    gaps = _decision_gaps(rollouts)
    return float(np.median(gaps)) if len(gaps) else None


def _longest_decision_gap(rollouts: Sequence[Rollout]) -> float | None:
    """Return the longest time from a decision to the next, but for pauses that are exceptions."""
    gaps = _decision_gaps(rollouts)
    if not len(gaps):
        return None
    return float(gaps[gaps <= MAX_GAP * np.median(gaps)].max())


def _decision_gaps(rollouts: Sequence[Rollout]) -> NDArray[np.float64]:
    gaps = np.concatenate([np.diff(rollout.stamps) for rollout in rollouts])
    return np.asarray(gaps[gaps > 0])


def _promise(
    task: str,
    threshold: PairedThreshold,
    n: int,
    tasks: int | None,
    settings: CalibrationSettings,
) -> PromiseSection:
    counting = math.floor(effective_number(threshold.weights)) if settings.future else None
    exchangeable = tasks or counting or n
    alpha = max(settings.alpha, smallest_alpha(exchangeable))
    constant = settings.threshold == "constant"
    return PromiseSection(
        task=task,
        limit=threshold.limit,
        thresholds=(
            dict(zip(settings.scores, threshold.thresholds.tolist(), strict=True))
            if constant
            else {}
        ),
        rollouts=n,
        tasks=tasks,
        counting=counting,
        rank=rank(exchangeable, alpha),
        smallest_alpha=(
            1 - float(threshold.weights.sum()) if settings.future else smallest_alpha(exchangeable)
        ),
        false_alarm_interval_90=false_alarm_interval(exchangeable, alpha),
    )


def _listed(rollouts: Sequence[Rollout]) -> tuple[RolloutSection, ...]:
    return tuple(
        RolloutSection(
            name=rollout.name,
            decisions=len(rollout),
            sha256=rollout.sha256,
            task=rollout.task,
            group=rollout.group,
        )
        for rollout in rollouts
    )


def _with_limits(
    rollouts: Sequence[Rollout],
    thresholds: Mapping[str, PairedThreshold],
    places_of: Mapping[str, NDArray[np.int64]],
) -> tuple[RolloutSection, ...]:
    """Return the sections of the calibration rollouts, with the fold and limit of each."""
    sections = list(_listed(rollouts))
    for task, places in places_of.items():
        threshold = thresholds[task]
        for place, fold, limit in zip(places, threshold.folds, threshold.limits, strict=True):
            sections[place] = replace(sections[place], fold=int(fold), limit=float(limit))
    return tuple(sections)
