# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle states of its calibration: rollouts, promises and the pace of decisions."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from failure_monitor import __version__
from failure_monitor.bundle.description import (
    SCHEMA_VERSION,
    BundleDescription,
    PolicySection,
    PromiseSection,
    RolloutSection,
    ScoreSection,
)
from failure_monitor.calibration.promised_tasks import by_task, of_promises
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.thresholds.conformal import (
    false_alarm_interval,
    rank,
    smallest_alpha,
)
from failure_monitor.thresholds.paired_threshold import (
    PairedThreshold,
    effective_number,
)

MAX_GAP = 5.0
"""Factor of the usual time between decisions above which a gap is a pause, and no example."""


def describe(
    rollouts: Sequence[Rollout],
    fit_rollouts: Sequence[Rollout],
    failures: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
    thresholds: Mapping[str, PairedThreshold],
    scores: Sequence[FoldedScore],
) -> BundleDescription:
    """Return what the bundle states, but for the largest levels of its rollouts.

    Args:
        rollouts: those that calibrate.
        fit_rollouts: those that scores are fitted on; none means the calibration rollouts.
        failures: those that the score `probe` learned from.
        policy: the format of their decisions.
        settings: what was calibrated.
        thresholds: of each promise, by its task.
        scores: the fitted scores.
    """
    of_each = of_promises(rollouts, settings)
    tasks = len(by_task(rollouts)) if settings.promise == "across-tasks" else None
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
        decision_period=decision_period(rollouts),
        longest_decision_gap=_longest_decision_gap(rollouts),
        calibration=_with_limits(rollouts, thresholds, of_each),
        fit=_listed(fit_rollouts),
        failures=_listed(failures),
    )


def decision_period(rollouts: Sequence[Rollout]) -> float | None:
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
