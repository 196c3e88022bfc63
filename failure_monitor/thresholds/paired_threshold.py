# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The threshold of a rule: a running rollout against every calibration rollout, pair by pair.

Scores are F models, one for each fold of the rollouts, which it did not learn from. Calibration
rollout i has one number c_i, its largest over time by the model and scale of its own fold f(i). A
running rollout has the number z_f by those of every fold f, and i lies below it where
z_f(i) > c_i: to that model both are new. The alarm is raised where at least
k = ⌈(n+1)(1−alpha)⌉ of n lie below.

Barber et al., "Predictive inference with the jackknife+", Annals of Statistics 2021 (CV+, for any
comparison of pairs); Vovk, "Cross-conformal predictors", 2015. A future successful rollout raises
the alarm with a chance of at most 2 alpha, whatever the models are, and near alpha as they are
found to be. With scores that were fitted on other rollouts F is 1, the alarm is raised above the
k-th smallest c_i, and the chance is at most alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from failure_monitor.thresholds.conformal import CEILING, CalibrationError, Rule, Scale, combine
from failure_monitor.thresholds.conformal import rank as rank_of

MARGIN = 1e-9
"""A limit counts as above its least possible where it exceeds it by this share."""
RAISED = 1e-3
"""A limit that is too low is raised above its least possible by this share of what others are."""
JUST_ABOVE = float(np.nextafter(1.0, 2.0))


@dataclass(frozen=True, eq=False)
class Comparison:
    """A decision beside the calibration rollouts.

    Attributes:
        level: the combined normalised score: the k-th largest of those that the pairs give.
        fold: that of the deciding pair, the one which gives it.
        thresholds: (K,), what the windowed scores of that fold are compared with in that pair.
        below: how many calibration rollouts lie below the decision.
    """

    level: float
    fold: int
    thresholds: NDArray[np.float64]
    below: int


@dataclass(frozen=True, eq=False)
class PairedThreshold:
    """The rule, the scales and the limits that make up a calibrated alarm.

    Attributes:
        rule: how the scores combine.
        scale: of each fold and score, (F, K), or (L, F, K) where it varies over time.
        limits: (n,), c_i of each calibration rollout.
        folds: int64 (n,), the fold of each.
        rank: k, how many of them lie below a decision that calls for an alarm.
    """

    rule: Rule
    scale: Scale
    limits: NDArray[np.float64]
    folds: NDArray[np.int64]
    rank: int

    @classmethod
    def of_one_limit(cls, rule: Rule, scale: Scale, limit: float) -> PairedThreshold:
        """Return the threshold of one model, with its scale of (..., K), and one limit."""
        return cls(
            rule, Scale.of_folds([scale]), np.array([limit]), np.zeros(1, dtype=np.int64), rank=1
        )

    def at(self, decisions: int | NDArray[np.int64]) -> PairedThreshold:
        """Return the threshold at a decision, or at each of several; counted from 0."""
        scale = self.scale.at(decisions)
        return self if scale is self.scale else replace(self, scale=scale)

    @property
    def limit(self) -> float:
        """The k-th smallest c_i; it alone decides where there is one fold."""
        return float(np.sort(self.limits)[self.rank - 1])

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """What each windowed score is about compared with, (..., K).

        It is the k-th smallest of the pairs' thresholds: exactly what decides where there is one
        fold, or where the rule is of one score on which all models agree.
        """
        of_pairs = np.sort(self._of_pairs(), axis=-2)
        return np.asarray(of_pairs[..., self.rank - 1, :])

    def level(self, windowed: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the combined normalised score, (..., F, K) to (...): 0 where all scores are 0.

        It is above 1 just where at least k calibration rollouts lie below. With one score and one
        fold it is the windowed score over its threshold. 0 where the rule has no score that is
        defined (see `combine`).
        """
        return self.level_and_below(windowed)[0]

    def level_and_below(
        self, windowed: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the level, and how many calibration rollouts lie below; (..., F, K) to (...)."""
        ratios, below = self._compare(windowed)
        place = len(self.limits) - self.rank
        return np.partition(ratios, place, axis=-1)[..., place], below.sum(axis=-1)

    def compare(self, windowed: NDArray[np.float64]) -> Comparison:
        """Compare the windowed scores of one decision, (F, K)."""
        ratios, below = self._compare(windowed)
        place = len(self.limits) - self.rank
        pair = np.argpartition(ratios, place)[place]
        fold = int(self.folds[pair])
        return Comparison(
            level=float(ratios[pair]),
            fold=fold,
            thresholds=self.scale.centre[fold] + self.limits[pair] * self.scale.spread[fold],
            below=int(below.sum()),
        )

    def _compare(
        self, windowed: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the level that each pair gives, (..., n), and whether its rollout lies below."""
        undefined = np.isnan(windowed)
        number = combine(self.rule, self.scale(windowed))[..., self.folds]
        if not undefined.any():
            floor, room = self._floor_and_room
            return _ratios(number, floor, room, self.limits)
        floor = combine(self.rule, np.where(undefined, np.nan, self._origin))[..., self.folds]
        silent = np.isneginf(number)
        floor = np.where(silent, self.limits.min() - 1.0, floor)
        ratios, below = _ratios(
            np.where(silent, 0.0, number), floor, self.limits - floor, self.limits
        )
        return np.where(silent, 0.0, ratios), below & ~silent

    @property
    def _origin(self) -> NDArray[np.float64]:
        """Scores of 0 on the common scale."""
        return -self.scale.centre / self.scale.spread

    @cached_property
    def _floor_and_room(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The number of scores of 0, and how far below the limit it is, of each pair."""
        floor = combine(self.rule, self._origin)[..., self.folds]
        return floor, self.limits - floor

    def _of_pairs(self) -> NDArray[np.float64]:
        """Return what each pair compares each windowed score with, (..., n, K)."""
        centre, spread = (
            each[..., self.folds, :] for each in (self.scale.centre, self.scale.spread)
        )
        return np.asarray(centre + self.limits[:, np.newaxis] * spread)


def _ratios(
    number: NDArray[np.float64],
    floor: NDArray[np.float64],
    room: NDArray[np.float64],
    limits: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the level that each pair gives, and whether its rollout lies below."""
    below = number > limits
    ratios = (number - floor) / room
    # Rounding must not part the level from the number of rollouts that lie below.
    return np.where(below, np.maximum(ratios, JUST_ABOVE), np.minimum(ratios, 1.0)), below


def paired_threshold(
    rule: Rule,
    scales: Sequence[Scale],
    maxima: NDArray[np.float64],
    folds: NDArray[np.int64],
    alpha: float,
) -> PairedThreshold:
    """Calibrate a rule.

    Args:
        rule: how the scores combine.
        scales: of each fold.
        maxima: (n,), c_i: the maximum over time of each calibration rollout's combined number.
        folds: int64 (n,), the fold of each.
        alpha: the promised false-alarm rate.

    Raises:
        CalibrationError: too few rollouts for alpha, or scores that leave no room for a threshold.
    """
    k = rank_of(len(maxima), alpha)
    scale = Scale.of_folds(scales)
    if rule == "mean" and scale.centre.shape[-1] > 1 and np.sum(maxima < CEILING) < k:
        raise CalibrationError(
            "the limit of the rule 'mean' would be out of reach: some calibration rollouts are "
            "unlike all others in every score; inspect these, record more, or use the rule 'any'"
        )
    return PairedThreshold(rule, scale, _raised(maxima, scale, folds, k), folds, k)


def _raised(
    maxima: NDArray[np.float64], scale: Scale, folds: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """Return c_i, raised where a score's threshold would be 0 or less.

    Fewer than k may be so low. They are raised to a little above the least possible, and stay
    below the others of their fold; at most it costs an alarm where scores hardly leave 0.

    Raises:
        CalibrationError: too many are.
    """
    origin = -scale.centre / scale.spread
    least = origin.reshape(-1, *origin.shape[-2:]).max(axis=(0, 2))[folds]
    is_low = ~(maxima > least + MARGIN * (1.0 + np.abs(least)))
    if is_low.sum() >= k:
        raise CalibrationError(
            "a threshold would be 0 or less: in the calibration rollouts the scores hardly ever "
            "leave 0, or are never raised together; use other scores, the rule 'any' or 'mean', "
            "or a constant threshold"
        )
    return np.where(is_low, least + RAISED * (maxima - least)[~is_low].min(), maxima)
