# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How often rules alarm in rollouts like those that they were calibrated on.

Scores are computed once and shared by all rules; rules are then calibrated by the functions of
`failure_monitor.calibration.calibrate`. A test holds the two to the same limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from failure_monitor.calibration.calibrate import SCALES, largest_numbers, scales_of_other_folds
from failure_monitor.calibration.cross_fitting import HeldOutScores, Recipe, Series, cross_fit
from failure_monitor.calibration.settings import USUAL_FOLDS, CalibrationSettings
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.monitoring.monitor import windowed_scores
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.base.network_score import NetworkScore
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.registry import SCORES, score_named
from failure_monitor.thresholds.conformal import CalibrationError, Rule, Scale, ThresholdKind
from failure_monitor.thresholds.paired_threshold import paired_threshold

ALPHAS = (0.05, 0.1, 0.2)
SETTINGS = CalibrationSettings()
DEFAULT_RULE, WRONG = "default rule", "default, wrongly"

Rates: TypeAlias = NDArray[np.float64]
"""Of a split, the false-alarm rate by rule and alpha; NaN where nothing could be calibrated."""
ScoreSeries: TypeAlias = dict[str, list[Series]]
"""By score, its windowed values in every rollout, (T, 1) or (T, F, 1) each; a score that is
undefined lacks."""


@dataclass(frozen=True)
class MeasuredRule:
    """A rule whose false-alarm rate is measured.

    Attributes:
        title: in tables.
        scores: their names.
        rule: how they combine.
        threshold: constant or time-varying.
        on_fitting_rollouts: whether it is calibrated on what its scores were fitted on, which
            breaks the promise.
    """

    title: str
    scores: tuple[str, ...]
    rule: Rule = "mean"
    threshold: ThresholdKind = "constant"
    on_fitting_rollouts: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether a network must be trained for it."""
        return any(issubclass(score_named(name), NetworkScore) for name in self.scores)


def measured_rules() -> list[MeasuredRule]:
    """Return the default rule and its relatives, and every score alone."""
    default, fiper = SETTINGS.scores, ("rnd_oe", "ace")
    return [
        MeasuredRule(DEFAULT_RULE, default, SETTINGS.rule),
        MeasuredRule("default, time-varying", default, SETTINGS.rule, "time-varying"),
        MeasuredRule("any of its scores", default, "any"),
        MeasuredRule("any, time-varying", default, "any", "time-varying"),
        MeasuredRule("all of its scores", default, "all"),
        MeasuredRule("fiper", fiper, "all"),
        MeasuredRule("fiper, time-varying", fiper, "all", "time-varying"),
        # Without a failure to learn from there is no probe.
        *(MeasuredRule(name, (name,)) for name in SCORES if name != "probe"),
        MeasuredRule(WRONG, default, SETTINGS.rule, on_fitting_rollouts=True),
    ]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A rule before an alpha is chosen.

    Attributes:
        scales: of each fold.
        numbers: (n,), c_i of each calibration rollout.
        folds: (n,), the fold of each.
    """

    scales: Sequence[Scale]
    numbers: NDArray[np.float64]
    folds: NDArray[np.int64]

    @classmethod
    def by_one_model(
        cls, series: Sequence[Series], scale: Scale, rule: MeasuredRule
    ) -> Calibrated:
        """Return the rule where one model and scale are of all rollouts."""
        folds = np.zeros(len(series), dtype=np.int64)
        return cls([scale], largest_numbers(series, [scale], folds, rule.rule), folds)


@dataclass(frozen=True, eq=False)
class ScoredSplit:
    """Scores of rollouts that calibrate, and of others.

    Attributes:
        folds: (n,), the fold of every calibration rollout.
        held_out: of these, by scores that were fitted on the other folds.
        fitted_on: of these, by scores that were fitted on all of them.
        others: of other rollouts, by the scores of all folds, (T, F, 1).
        others_by_one: of these, by scores that were fitted on all calibration rollouts, (T, 1, 1).
    """

    folds: NDArray[np.int64]
    held_out: ScoreSeries
    fitted_on: ScoreSeries
    others: ScoreSeries
    others_by_one: ScoreSeries

    @classmethod
    def of(
        cls,
        rollouts: Sequence[Rollout],
        others: Sequence[Rollout],
        policy: PolicyFormat,
        rules: Sequence[MeasuredRule],
        folds: int = USUAL_FOLDS,
    ) -> ScoredSplit:
        """Fit every score of the rules on `rollouts`, and cross-fit it in at most so many."""
        folds = min(folds, len(rollouts))
        split = cls(np.empty(len(rollouts), np.int64), {}, {}, {}, {})
        for name in dict.fromkeys(name for rule in rules for name in rule.scores):
            recipe = Recipe(policy, (name,), SETTINGS.window, SETTINGS.seed)
            try:
                held_out = cross_fit(rollouts, recipe, folds=folds)
                scores = [FoldedScore([score]) for score in recipe.fit(rollouts)]
            except ScoreUndefinedError:
                continue
            split.folds[:] = held_out.folds
            split.held_out[name] = list(held_out.series)
            split.fitted_on[name] = [each[:, 0] for each in _scored(scores, rollouts)]
            split.others[name] = _scored(held_out.scores, others)
            split.others_by_one[name] = _scored(scores, others)
        return split

    def cross_fitted(self, rule: MeasuredRule) -> Calibrated:
        """Return the rule as these rollouts calibrate it."""
        kind = SCALES[rule.threshold]
        if rule.on_fitting_rollouts:
            series = side_by_side(self.fitted_on, rule)
            return Calibrated.by_one_model(series, kind.fit(series), rule)
        held_out = HeldOutScores(self.folds, tuple(side_by_side(self.held_out, rule)))
        scales = scales_of_other_folds(held_out, kind)
        numbers = largest_numbers(held_out.series, scales, self.folds, rule.rule)
        return Calibrated(scales, numbers, self.folds)

    def fitted_apart(self, rule: MeasuredRule, calibration: NDArray[np.int64]) -> Calibrated:
        """Return the same, where some of the others calibrate."""
        scale = SCALES[rule.threshold].fit(side_by_side(self.held_out, rule))
        series = side_by_side(some(self.others_by_one, calibration), rule)
        return Calibrated.by_one_model([each[:, 0] for each in series], scale, rule)


def cross_fitted_rates(
    rollouts: Sequence[Rollout],
    tests: Sequence[Rollout],
    policy: PolicyFormat,
    rules: Sequence[MeasuredRule],
    folds: int = USUAL_FOLDS,
) -> Rates:
    """Return the rates in tests, (rules, alphas); `rollouts` calibrate and are cross-fitted."""
    split = ScoredSplit.of(rollouts, tests, policy, rules, folds)
    return np.stack(
        [
            _rates(
                rule,
                split.cross_fitted,
                split.others_by_one if rule.on_fitting_rollouts else split.others,
            )
            for rule in rules
        ]
    )


def rates_fitted_apart(
    split: ScoredSplit,
    calibration: NDArray[np.int64],
    tests: NDArray[np.int64],
    rules: Sequence[MeasuredRule],
) -> Rates:
    """Return the rates in some of a split's others, (rules, alphas); some others calibrate."""

    def calibrated(rule: MeasuredRule) -> Calibrated:
        return split.fitted_apart(rule, calibration)

    unseen = some(split.others_by_one, tests)
    return np.stack([_rates(rule, calibrated, unseen) for rule in rules])


def _rates(
    rule: MeasuredRule, calibrated: Callable[[MeasuredRule], Calibrated], tests: ScoreSeries
) -> Rates:
    """Return the share of tests that raise an alarm, (alphas,)."""
    rates = np.full(len(ALPHAS), np.nan)
    if not set(rule.scores) <= tests.keys():
        return rates
    found, series = calibrated(rule), side_by_side(tests, rule)
    for column, alpha in enumerate(ALPHAS):
        try:
            threshold = paired_threshold(
                rule.rule, found.scales, found.numbers, found.folds, alpha
            )
        except CalibrationError:
            continue
        levels = [threshold.at(np.arange(len(each))).level(each) for each in series]
        rates[column] = np.mean([each.max() > 1 for each in levels])
    return rates


def side_by_side(series: ScoreSeries, rule: MeasuredRule) -> list[Series]:
    """Return the scores of the rule, (..., K) for every rollout."""
    columns = [series[name] for name in rule.scores]
    return [np.concatenate(of_rollout, axis=-1) for of_rollout in zip(*columns, strict=True)]


def some(series: ScoreSeries, places: Iterable[int]) -> ScoreSeries:
    """Return those of the rollouts at some places."""
    places = list(places)
    return {name: [values[place] for place in places] for name, values in series.items()}


def _scored(scores: Sequence[FoldedScore], rollouts: Sequence[Rollout]) -> list[Series]:
    return [windowed_scores(scores, rollout, SETTINGS.window) for rollout in rollouts]
