# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration: successful rollouts in, a bundle out.

Every rollout sets the threshold with scores that were fitted without it: the rollouts are dealt
into folds, and each fold is scored by what the other folds taught (cross-fitting by rollout).
The bundle's own scores are then fitted on all of them.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from failure_monitor import __version__
from failure_monitor.bundle import (
    SCHEMA_VERSION,
    Bundle,
    BundleDescription,
    CalibrationRollout,
    PolicySection,
    PromiseSection,
    ScoreSection,
)
from failure_monitor.conformal import (
    CalibrationError,
    JointThreshold,
    Rule,
    Scale,
    combine,
    false_alarm_interval,
    joint_threshold,
    rank,
    smallest_alpha,
)
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.fitting.fit import fit_score
from failure_monitor.monitor import windowed_scores
from failure_monitor.scores.registry import score_named
from failure_monitor.scores.score import Score

Series = NDArray[np.float64]
"""Windowed scores of one rollout, (T, K); NaN where undefined."""


@dataclass(frozen=True)
class CalibrationSettings:
    """What to calibrate, and how.

    Attributes:
        scores: the names of the rule's scores.
        rule: how they combine.
        alpha: the promised false-alarm rate.
        window: over how many decisions a score is averaged.
        folds: into how many parts the rollouts are dealt for cross-fitting.
        seed: of the dealing and of the training.
        jobs: how many processes fit at a time.
    """

    scores: tuple[str, ...] = ("rnd_oe", "ace")
    rule: Rule = "all"
    alpha: float = 0.1
    window: int = 5
    folds: int = 5
    seed: int = 0
    jobs: int = 2


def choose(rollouts: Sequence[Rollout]) -> tuple[list[Rollout], list[str]]:
    """The rollouts that may calibrate, and remarks on what was left out or taken for granted.

    Where a source sets rollouts apart for calibration, those of them that succeeded are taken.
    Elsewhere all are: one without an outcome counts as successful, one that failed is kept, for
    `calibrate` to refuse, since its owner meant it to be a success.
    """
    remarks = []
    apart = [rollout for rollout in rollouts if rollout.calibration is False]
    failed = [rollout for rollout in rollouts if rollout.calibration and not rollout.success]
    if apart:
        remarks.append(f"{len(apart)} rollouts that their source keeps for tests are left out")
    if failed:
        remarks.append(f"{len(failed)} rollouts that failed are left out")
    left_out = {id(rollout) for rollout in (*apart, *failed)}
    chosen = [rollout for rollout in rollouts if id(rollout) not in left_out]
    unlabelled = [rollout for rollout in chosen if rollout.success is None]
    if unlabelled:
        remarks.append(f"{len(unlabelled)} rollouts without an outcome are taken as successful")
    return chosen, remarks


def calibrate(
    rollouts: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
    *,
    report: Callable[[str], None] = lambda step: None,
) -> Bundle:
    """Fit the scores and calibrate their joint threshold.

    Args:
        rollouts: successful ones, exchangeable with the successful ones to come.
        policy: the format of their decisions.
        settings: what to calibrate.
        report: told what is being done.

    Raises:
        CalibrationError: the rollouts do not support what is asked.
        InvalidDecisionError: a decision is not of the policy's format.
        ScoreUndefinedError: a score means nothing for this policy.
        UsageError: a score does not exist.
    """
    _check(rollouts, policy, settings)
    folds = _deal(len(rollouts), settings.folds, settings.seed)
    held_out = _cross_fit(rollouts, policy, settings, folds, report)
    maxima = _maxima(held_out, folds, settings.rule)
    threshold = joint_threshold(
        settings.rule, Scale.fit(np.concatenate(held_out)), maxima, settings.alpha
    )
    report(f"fitting the scores on all {len(rollouts)} rollouts")
    scores = _fit(rollouts, policy, settings)
    return Bundle(_describe(rollouts, policy, settings, threshold, scores), scores)


def _check(
    rollouts: Sequence[Rollout], policy: PolicyFormat, settings: CalibrationSettings
) -> None:
    for name in settings.scores:
        score_named(name)
    failed = [rollout.name for rollout in rollouts if rollout.success is False]
    if failed:
        raise CalibrationError(
            f"{len(failed)} of the rollouts failed ({', '.join(failed[:5])}): only successful "
            "ones can calibrate; leave these out"
        )
    rank(len(rollouts), settings.alpha)
    if len(rollouts) < settings.folds or settings.folds < 2:
        raise CalibrationError(
            f"{len(rollouts)} rollouts cannot be dealt into {settings.folds} folds: set the folds "
            f"to a number from 2 to {len(rollouts)}"
        )
    for rollout in rollouts:
        rollout.check(policy)


def _deal(n: int, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of every rollout, (n,): sizes differ by one at most."""
    order = np.random.default_rng(seed).permutation(n)
    fold = np.empty(n, dtype=np.int64)
    fold[order] = np.arange(n) % folds
    return fold


def _cross_fit(
    rollouts: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
    folds: NDArray[np.int64],
    report: Callable[[str], None],
) -> list[Series]:
    """Every rollout's windowed scores, by scores fitted on the other folds."""
    parts = [
        (
            [rollout for rollout, fold in zip(rollouts, folds, strict=True) if fold != held],
            [rollout for rollout, fold in zip(rollouts, folds, strict=True) if fold == held],
        )
        for held in range(settings.folds)
    ]
    held_out: list[Series] = [np.empty(0)] * len(rollouts)
    with _workers(settings.jobs) as workers:
        run = map if workers is None else workers.map
        for fold, scored in enumerate(
            run(partial(_score_held_out, policy=policy, settings=settings), parts)
        ):
            report(f"fold {fold + 1} of {settings.folds} fitted and scored")
            for position, series in zip(np.flatnonzero(folds == fold), scored, strict=True):
                held_out[position] = series
    return held_out


def _workers(jobs: int) -> ProcessPoolExecutor | nullcontext[None]:
    if jobs < 2:
        return nullcontext()
    # Spawned, not forked: torch and ONNX Runtime do not survive a fork with their threads.
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


def _score_held_out(
    part: tuple[list[Rollout], list[Rollout]],
    policy: PolicyFormat,
    settings: CalibrationSettings,
) -> list[Series]:
    fitting, held_out = part
    scores = _fit(fitting, policy, settings)
    return [windowed_scores(scores, rollout, settings.window) for rollout in held_out]


def _fit(
    rollouts: Sequence[Rollout], policy: PolicyFormat, settings: CalibrationSettings
) -> tuple[Score, ...]:
    return tuple(fit_score(name, rollouts, policy, settings.seed) for name in settings.scores)


def _maxima(
    held_out: Sequence[Series], folds: NDArray[np.int64], rule: Rule
) -> NDArray[np.float64]:
    """c_i, the maximum over time of each rollout's combined number, (n,).

    Each fold is brought to scale by the other folds' scores, as a future rollout will be by
    scores that are not its own.
    """
    maxima = np.empty(len(held_out))
    for fold in range(folds.max() + 1):
        others = [series for series, f in zip(held_out, folds, strict=True) if f != fold]
        scale = Scale.fit(np.concatenate(others))
        for position, series in enumerate(held_out):
            if folds[position] == fold:
                maxima[position] = combine(rule, scale(series)).max()
    return maxima


def _describe(
    rollouts: Sequence[Rollout],
    policy: PolicyFormat,
    settings: CalibrationSettings,
    threshold: JointThreshold,
    scores: Sequence[Score],
) -> BundleDescription:
    n = len(rollouts)
    return BundleDescription(
        schema_version=SCHEMA_VERSION,
        tool_version=__version__,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        policy=PolicySection(**vars(policy)),
        rule=settings.rule,
        window=settings.window,
        limit=threshold.limit,
        scores=tuple(
            ScoreSection(
                name=score.name,
                centre=float(threshold.scale.centre[index]),
                spread=float(threshold.scale.spread[index]),
                threshold=float(threshold.thresholds[index]),
                parameters=score.state().parameters,
            )
            for index, score in enumerate(scores)
        ),
        promise=PromiseSection(
            alpha=settings.alpha,
            rollouts=n,
            rank=rank(n, settings.alpha),
            smallest_alpha=smallest_alpha(n),
            false_alarm_interval_90=false_alarm_interval(n, settings.alpha),
        ),
        folds=settings.folds,
        seed=settings.seed,
        calibration=tuple(
            CalibrationRollout(name=rollout.name, decisions=len(rollout), sha256=rollout.sha256)
            for rollout in rollouts
        ),
    )
