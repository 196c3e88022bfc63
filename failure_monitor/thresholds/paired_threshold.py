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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from failure_monitor.listed_names import list_names
from failure_monitor.thresholds.conformal import (
    CEILING,
    FALSE_ALARMS,
    CalibrationError,
    Rule,
    Scale,
    combine,
    rank,
    rounded_up,
)

ROUNDING = 1e-9
"""Weights that sum up to what is needed but for this have reached it."""
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
        weights: (n,), how much each counts: 1, or less where a task has many, or where its group
            is rarer among rollouts to come than here.
        needed: the weights of those that lie below a decision which calls for an alarm; k where
            each counts as 1.
    """

    rule: Rule
    scale: Scale
    limits: NDArray[np.float64]
    folds: NDArray[np.int64]
    weights: NDArray[np.float64]
    needed: float

    @classmethod
    def of_one_limit(cls, rule: Rule, scale: Scale, limit: float) -> PairedThreshold:
        """Return the threshold of one model, with its scale of (..., K), and one limit."""
        fold = np.zeros(1, dtype=np.int64)
        return cls(rule, Scale.of_folds([scale]), np.array([limit]), fold, np.ones(1), needed=1.0)

    def at(self, decisions: int | NDArray[np.int64]) -> PairedThreshold:
        """Return the threshold at a decision, or at each of several; counted from 0."""
        scale = self.scale.at(decisions)
        if scale is self.scale:
            return self
        there = replace(self, scale=scale)
        # What does not depend on the scale is looked up once, not at every decision.
        vars(there).update(limit=self.limit, _needed_of_equals=self._needed_of_equals)
        return there

    @cached_property
    def positive_limits(self) -> NDArray[np.float64]:
        """What `limit` is on the scale of each score, (..., F, K); NaN where it is 0 or less."""
        limits = self.scale.centre + self.limit * self.scale.spread
        return np.where(limits > 0, limits, np.nan)

    @cached_property
    def limit(self) -> float:
        """The k-th smallest c_i; it alone decides where there is one fold."""
        return float(self._deciding(self.limits[:, np.newaxis])[0])

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """What each windowed score is about compared with, (..., K).

        It is the k-th smallest of the pairs' thresholds: exactly what decides where there is one
        fold, or where the rule is of one score on which all models agree.
        """
        return self._deciding(self._of_pairs())

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
        return -self._deciding(-ratios[..., np.newaxis])[..., 0], below.sum(axis=-1)

    def compare(self, windowed: NDArray[np.float64]) -> Comparison:
        """Compare the windowed scores of one decision, (F, K)."""
        ratios, below = self._compare(windowed)
        order = (-ratios).argsort()
        # Where each counts as 1, the weights need not be summed up.
        place = self._needed_of_equals
        if place is None:
            place = int(self.weights[order].cumsum().searchsorted(self.needed - ROUNDING))
        pair = order[place]
        fold = int(self.folds[pair])
        return Comparison(
            level=float(ratios[pair]),
            fold=fold,
            thresholds=self.scale.centre[fold] + self.limits[pair] * self.scale.spread[fold],
            below=int(np.count_nonzero(below)),
        )

    @cached_property
    def _needed_of_equals(self) -> int | None:
        """Which of the pairs in order decides where each counts as 1, from 0; or else None."""
        if (self.weights != 1).any():
            return None
        return int(self.weights.cumsum().searchsorted(self.needed - ROUNDING))

    def _compare(
        self, windowed: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the level that each pair gives, (..., n), and whether its rollout lies below."""
        undefined = np.isnan(windowed)
        number = combine(self.rule, self.scale(windowed))[..., self.folds]
        if not np.count_nonzero(undefined):
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

    def _deciding(self, of_pairs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value up to which the pairs, smallest first, have the weight that is needed.

        Where each counts as 1 it is the k-th smallest. (..., n, K) to (..., K).
        """
        order = np.argsort(of_pairs, axis=-2)
        reached = self.weights[order].cumsum(axis=-2) >= self.needed - ROUNDING
        place = np.take_along_axis(order, reached.argmax(axis=-2)[..., np.newaxis, :], axis=-2)
        return np.asarray(np.take_along_axis(of_pairs, place, axis=-2)[..., 0, :])

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
    if not np.count_nonzero(below):
        return np.minimum(ratios, 1.0), below
    return np.where(below, np.maximum(ratios, JUST_ABOVE), np.minimum(ratios, 1.0)), below


def paired_threshold(
    rule: Rule,
    scales: Sequence[Scale],
    maxima: NDArray[np.float64],
    folds: NDArray[np.int64],
    alpha: float,
    tasks: Sequence[str] = (),
    groups: Sequence[str] = (),
    future: Mapping[str, float] = MappingProxyType({}),
) -> PairedThreshold:
    """Calibrate a rule.

    Args:
        rule: how the scores combine.
        scales: of each fold.
        maxima: (n,), c_i: the maximum over time of each calibration rollout's combined number.
        folds: int64 (n,), the fold of each.
        alpha: the promised false-alarm rate.
        tasks: the task of each, for a promise across tasks (`weights_across_tasks`); none for one
            of rollouts like these.
        groups: the group of each, where `future` is given.
        future: the shares of groups among successful rollouts to come (`weights_of_groups`); none
            where these are as those of calibration.

    Raises:
        CalibrationError: too few rollouts for alpha, or scores that leave no room for a threshold.
    """
    if tasks:
        weights, needed = weights_across_tasks(tasks, alpha)
    elif future:
        weights, needed = weights_of_groups(groups, future, alpha)
    else:
        weights, needed = np.ones(len(maxima)), float(rank(len(maxima), alpha))
    scale = Scale.of_folds(scales)
    below_ceiling = weights[maxima < CEILING].sum()
    if rule == "mean" and scale.centre.shape[-1] > 1 and below_ceiling < needed - ROUNDING:
        raise CalibrationError(
            "the limit of the rule 'mean' would be out of reach: some calibration rollouts are "
            "unlike all others in every score; inspect these, record more, or use the rule 'any'"
        )
    origin = -scale.centre / scale.spread
    least = origin.reshape(-1, *origin.shape[-2:]).max(axis=(0, 2))[folds]
    is_low = ~(maxima > least + MARGIN * (1.0 + np.abs(least)))
    if weights[is_low].sum() >= needed - ROUNDING:
        raise CalibrationError(
            "a threshold would be 0 or less: in the calibration rollouts the scores hardly ever "
            "leave 0, or are never raised together; use other scores, the rule 'any' or 'mean', "
            "or a constant threshold, and shift an external score that lies below 0"
        )
    limits = _raised(maxima, least, is_low)
    return PairedThreshold(rule, scale, limits, folds, weights, needed)


def weights_across_tasks(tasks: Sequence[str], alpha: float) -> tuple[NDArray[np.float64], float]:
    """Return the weight of each rollout, (n,), and what is needed, of a promise for any task.

    Tasks are exchangeable, and so are the rollouts within each: of K tasks, the n_t rollouts of
    one weigh 1 / ((K+1) n_t) each, and 1 − alpha is needed. Fewer than 1/alpha − 1 tasks do not
    weigh as much: then all of them are needed, and the chance of a false alarm is 1/(K+1).
    Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023.
    """
    _, task, counts = np.unique(np.array(tasks), return_inverse=True, return_counts=True)
    each = len(counts) + 1
    return 1.0 / (each * counts[task]), min(1.0 - alpha, len(counts) / each)


def weights_of_groups(
    groups: Sequence[str],
    future: Mapping[str, float],
    alpha: float,
    promised: str = FALSE_ALARMS,
) -> tuple[NDArray[np.float64], float]:
    """Return the weight of each rollout, (n,), and what is needed, where groups shifted.

    Of a group with n_g rollouts, which p_g of the successful rollouts to come belong to, each
    weighs p_g / (n_g + 1), and 1 − alpha is needed: the rollout to come is one more of its own
    group, and whichever group that is, it may lie above all others. Within each group rollouts
    are exchangeable, which is all that the promise needs; how many there are of each is free.

    It is the weight p_future / p_calibration of Tibshirani et al., "Conformal prediction under
    covariate shift", 2019, where the covariate is a group and its share in calibration is counted,
    not known.

    Raises:
        CalibrationError: a group to come has no rollouts, or too few for alpha.
    """
    counts = {name: list(groups).count(name) for name in future}
    missing = [name for name, count in counts.items() if not count]
    if missing:
        raise CalibrationError(
            f"of the groups of rollouts to come, {list_names(missing)} has no calibration "
            f"rollout (there are {list_names(sorted(set(groups)))}): record successful ones, or "
            "correct the name"
        )
    share = {name: future[name] / (count + 1) for name, count in counts.items()}
    least = sum(share.values())
    needed = round(1 - alpha, 12)
    if 1 - least < needed - ROUNDING:
        worst = max(share, key=lambda name: share[name])
        raise CalibrationError(
            f"these calibration rollouts, weighed for those to come, cannot promise {promised} "
            f"of {alpha:g}: record more successful ones, above all of {worst} "
            f"({counts[worst]} rollouts for a share of {future[worst]:g}), or ask for alpha "
            f"{rounded_up(least)} or more"
        )
    return np.array([share.get(name, 0.0) for name in groups]), needed


def effective_number(weights: NDArray[np.float64]) -> float:
    """Return as how many rollouts of one weight these count (Kish)."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _raised(
    maxima: NDArray[np.float64], least: NDArray[np.float64], is_low: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return c_i, raised where a score's threshold would be 0 or less.

    They are raised to a little above the least possible of their fold, and stay below the others
    of it; at most it costs an alarm where scores hardly leave 0.
    """
    return np.where(is_low, least + RAISED * (maxima - least)[~is_low].min(), maxima)
