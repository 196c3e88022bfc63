# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is compared: our rules and scores, and the baselines.

Each gets its threshold from the same calibration rollouts by the same conformal calibration at the
same alpha, and the same window. All but the probe learn from successes alone, and are cross-fitted
as `failure-monitor calibrate` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from benchmark_parts.scored_archives import RuleOf, ScoredArchive
from numpy.typing import NDArray

from failure_monitor.calibration.calibrate import largest_numbers, scales_of_other_folds
from failure_monitor.calibration.chosen_rollouts import choose
from failure_monitor.calibration.cross_fitting import HeldOutScores
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.decision import Rollout
from failure_monitor.evaluation.metrics import RolloutResult
from failure_monitor.scores.base.network_score import NetworkScore
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.registry import (
    DEFAULT_SCORES,
    FIPER_SCORES,
    JOINT_SCORES,
    SCORES,
    score_named,
)
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.thresholds.conformal import CalibrationError, windowed_mean
from failure_monitor.thresholds.paired_threshold import paired_threshold
from failure_monitor.thresholds.time_varying import TimeVaryingScale
from published.safe import SafeProbe, halves

WINDOW = 3
DEFAULT = "default rule"
WITHOUT_JOINTS = "default rule, without joints"
FIPER = "FIPER: all of rnd_oe, ace"
PROBE = "SAFE-like probe, taught by failures"
CONTROL = "elapsed time"
SINGLE = (*DEFAULT_SCORES, *JOINT_SCORES)
"""Scores of ours."""
BASELINES = {
    "rnd_oe": "RND-OE",
    "ace": "ACE",
    "stac": "STAC",
    "logpzo": "logpZO",
    "pca_kmeans": "PCA-kmeans",
    "mahalanobis": "Mahalanobis",
}
"""Scores of others, and what tables call them."""
OURS = (DEFAULT, WITHOUT_JOINTS, *SINGLE)
METHODS = (*OURS, FIPER, *BASELINES.values(), PROBE, CONTROL)
"""In the order of the tables."""


@dataclass(frozen=True, eq=False)
class Found:
    """What the methods say of every test of a task, in one dealing.

    Attributes:
        results: by method.
        missing: why others are missing, by method.
    """

    results: dict[str, list[RolloutResult]]
    missing: dict[str, str]


def default_scores(rollout_set: RolloutSet) -> tuple[str, ...]:
    """Return the names of the scores that the default rule has for these rollouts."""
    return choose_rule(choose(rollout_set.rollouts)[0], rollout_set.policy).scores


def scores_of(rollout_set: RolloutSet, *, networks: bool) -> list[str]:
    """Return the names of the scores that are needed; those of networks only if wanted."""
    names = dict.fromkeys((*SINGLE, *BASELINES, *default_scores(rollout_set)))
    assert names.keys() <= SCORES.keys()
    return [name for name in names if networks or not issubclass(score_named(name), NetworkScore)]


def compare(scored: ScoredArchive, rollout_set: RolloutSet, *, alpha: float, seed: int) -> Found:
    """Return what every method says."""
    rollouts = choose(rollout_set.rollouts)[0]
    default = default_scores(rollout_set)
    rules = {DEFAULT: RuleOf(default, window=WINDOW)}
    if set(default) & set(JOINT_SCORES):
        less = tuple(name for name in default if name not in JOINT_SCORES)
        rules[WITHOUT_JOINTS] = RuleOf(less, window=WINDOW)
    rules |= {name: RuleOf((name,), window=WINDOW) for name in SINGLE}
    rules[FIPER] = RuleOf(FIPER_SCORES, "all", WINDOW)
    rules |= {title: RuleOf((name,), window=WINDOW) for name, title in BASELINES.items()}
    results, missing = {}, {}
    for title, rule in rules.items():
        without = [name for name in rule.scores if name not in scored.calibration]
        if without:
            missing[title] = "; ".join(
                scored.undefined.get(name, f"{name} was left out") for name in without
            )
            continue
        try:
            results[title] = scored.results(rule, alpha)
        except CalibrationError as error:
            missing[title] = str(error)
    try:
        results[PROBE] = probe_results(scored, rollouts, alpha=alpha, seed=seed)
    except (CalibrationError, ScoreUndefinedError) as error:
        missing[PROBE] = str(error)
    results[CONTROL] = scored.control_results(alpha)
    return Found({name: results[name] for name in METHODS if name in results}, missing)


def probe_results(
    scored: ScoredArchive, rollouts: Sequence[Rollout], *, alpha: float, seed: int
) -> list[RolloutResult]:
    """Return what the probe says of every test, of each half what the other half taught it.

    It never learns from the calibration rollouts. Its score adds up, so that its threshold varies
    with time, as it was published; the scale of that is cross-fitted like any other.

    Raises:
        CalibrationError: too few tests failed.
        ScoreUndefinedError: there are no embeddings.
    """
    dealt, folds = halves(scored.tests, seed), scored.folds
    levels: list[NDArray[np.float64]] = [np.empty(0)] * len(dealt)
    for half in (0, 1):
        teachers = [scored.tests[place] for place in np.flatnonzero(dealt != half)]
        probe = SafeProbe.train(teachers, seed)
        calibration = tuple(_windowed(probe, rollout)[:, np.newaxis] for rollout in rollouts)
        scales = scales_of_other_folds(HeldOutScores(folds, calibration), TimeVaryingScale)
        limits = largest_numbers(calibration, scales, folds, "mean")
        threshold = paired_threshold("mean", scales, limits, folds, alpha)
        for place in np.flatnonzero(dealt == half):
            series = _windowed(probe, scored.tests[place])
            of_folds = np.repeat(series[:, np.newaxis, np.newaxis], len(scales), axis=1)
            levels[place] = threshold.at(np.arange(len(series))).level(of_folds)
    return scored.at_levels(levels)


def _windowed(probe: SafeProbe, rollout: Rollout) -> NDArray[np.float64]:
    return windowed_mean(probe.score_rollout(rollout), WINDOW)
