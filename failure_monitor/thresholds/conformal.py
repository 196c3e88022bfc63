# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds with a promise: finite-sample conformal calibration of several scores as one number.

Of n calibration rollouts, all successful and exchangeable with future successful ones, each is
reduced to one number c_i, its maximum over time under a rule. The ⌈(n+1)(1−alpha)⌉-th smallest
c_i is exceeded by a future successful rollout with a chance of at most alpha: any false alarm in
the whole rollout, not one per decision.
Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; for the interval
Vovk, "Conditional validity of inductive conformal predictors", 2012.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError

Rule = Literal["all", "any", "mean"]
RULES: tuple[Rule, ...] = get_args(Rule)
ThresholdKind = Literal["constant", "time-varying"]
THRESHOLD_KINDS: tuple[ThresholdKind, ...] = get_args(ThresholdKind)
PromiseKind = Literal["per-task", "across-tasks"]
PROMISE_KINDS: tuple[PromiseKind, ...] = get_args(PromiseKind)
CEILING = 5.0
"""Largest value that counts of one score in a mean, so that no score outvotes all others.
Thresholds are calibrated with it, so bundles depend on it."""


class CalibrationError(FailureMonitorError):
    """The calibration rollouts do not support what was asked of them."""


FALSE_ALARMS = "a false-alarm rate"
"""What the alpha of a rule promises, in errors."""


def rank(n: int, alpha: float, promised: str = FALSE_ALARMS) -> int:
    """Return which smallest of n calibration numbers is the threshold: ⌈(n+1)(1−alpha)⌉.

    Args:
        n: how many there are.
        alpha: the chance that a number to come exceeds it.
        promised: what this chance is called in errors.

    Raises:
        CalibrationError: that rank exceeds n, so no threshold keeps the promise.
    """
    if not 0 < alpha < 1:
        raise CalibrationError(f"alpha is a probability between 0 and 1, got {alpha}")
    # Rounded first: (9 + 1) · (1 − 0.1) is 9.000000000000002 in floating point.
    k = math.ceil(round((n + 1) * (1 - alpha), 9))
    if k > n:
        raise CalibrationError(
            f"{n} calibration rollouts cannot promise {promised} of {alpha:g}: record "
            f"{needed_rollouts(alpha)} successful rollouts, or ask for "
            f"{rounded_up(smallest_alpha(n))} or more"
        )
    return max(k, 1)


def smallest_alpha(n: int) -> float:
    """Return the smallest false-alarm rate that n calibration rollouts can promise: 1/(n+1)."""
    return 1 / (n + 1)


def needed_rollouts(alpha: float) -> int:
    """Return the smallest number of calibration rollouts that can promise alpha: ⌈1/alpha⌉ − 1."""
    # The inverse of a smaller number than the smallest normal one is infinite.
    return math.ceil(round(1 / max(alpha, sys.float_info.min), 9)) - 1


def rounded_up(alpha: float) -> str:
    """Return alpha as text with three decimals, never below it, so that it can be promised."""
    return f"{math.ceil(1000 * alpha) / 1000:g}"


def finite_sample_quantile(values: NDArray[np.float64], alpha: float) -> float:
    """Return the ⌈(n+1)(1−alpha)⌉-th smallest of n values.

    Raises:
        CalibrationError: n is too small for alpha.
    """
    return float(np.sort(values)[rank(len(values), alpha) - 1])


def false_alarm_interval(n: int, alpha: float, confidence: float = 0.9) -> tuple[float, float]:
    """Return where the true false-alarm rate lies, over the draw of the calibration rollouts.

    Given the calibration rollouts, the rate is Beta(n + 1 − k, k) distributed, k being the rank
    (continuous scores; with ties it is smaller). Returns its central interval.
    """
    k = rank(n, alpha)
    tail = (1 - confidence) / 2
    # Imported here: the monitor does without it, and starts sooner with less memory.
    # scipy.stats gives the same and takes longer to load.
    from scipy.special import betaincinv

    low, high = betaincinv(n + 1 - k, k, [tail, 1 - tail])
    return float(low), float(high)


def windowed_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the mean of the last `window` values at each time, or of fewer at the start; (T,).

    NaN is no part of a mean; where there is nothing else the mean is NaN.
    """
    is_undefined = np.isnan(values)
    undefined = int(is_undefined.sum())
    if is_undefined[:undefined].all() and undefined:
        defined = windowed_mean(values[undefined:], window)
        return np.concatenate([values[:undefined], defined])
    if undefined:
        return np.array(
            [
                mean_of_defined(values[max(0, end - window) : end])
                for end in range(1, len(values) + 1)
            ]
        )
    start = values[: window - 1]
    means = np.cumsum(start) / np.arange(1, len(start) + 1)
    if len(values) < window:
        return means
    full = np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=-1)
    return np.concatenate([means, full])


def mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the first axis of what is not NaN, or NaN where all is."""
    is_undefined = np.isnan(values)
    if not np.count_nonzero(is_undefined):
        return np.asarray(values.sum(axis=0) / len(values))
    count = (~is_undefined).sum(axis=0)
    total = np.where(is_undefined, 0.0, values).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Scale:
    """What brings windowed scores of different kinds to one scale: z = (s − centre) / spread.

    Attributes:
        centre: (K,), the median of each score; (F, K) of each of F folds; with a first axis more,
            at each of several decisions.
        spread: for each score, its 95th percentile above the median; positive.
    """

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def fit(cls, series: Sequence[NDArray[np.float64]]) -> Scale:
        """Fit a scale to windowed scores of successful rollouts, (T, K) each; NaN is undefined.

        A score that hardly ever varies takes its spread from its size, so that it cannot
        divide by zero.

        Raises:
            CalibrationError: a score is nowhere defined.
        """
        windowed = np.concatenate(series)
        if np.isnan(windowed).all(axis=0).any():
            raise CalibrationError(
                "a score of the rule is undefined at every decision of the calibration rollouts, "
                "which are too short for it: record longer ones, or leave it out of the rule"
            )
        centre = np.nanmedian(windowed, axis=0)
        spread = np.nanquantile(windowed, 0.95, axis=0) - centre
        smallest = 1e-6 * np.maximum(np.nanmax(np.abs(windowed), axis=0), 1e-6)
        return cls(centre=centre, spread=np.maximum(spread, smallest))

    @staticmethod
    def of_folds(scales: Sequence[Scale]) -> Scale:
        """Return the scales of F folds as one, of windowed scores (..., F, K)."""
        return scales[0].side_by_side(scales)

    @staticmethod
    def side_by_side(scales: Sequence[Scale]) -> Scale:
        """Return `of_folds` of scales of this kind."""
        return Scale(
            np.stack([scale.centre for scale in scales], axis=-2),
            np.stack([scale.spread for scale in scales], axis=-2),
        )

    def at(self, decisions: int | NDArray[np.int64]) -> Scale:
        """Return the scale at one decision or at several, counted from 0. Here it is constant."""
        return self

    def covers(self, decision: int) -> bool:
        """Return whether rollouts that the scale was fitted on reached this decision."""
        return True

    def __call__(self, windowed: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring windowed scores (..., K) to the common scale."""
        return (windowed - self.centre) / self.spread


def combine(rule: Rule, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rule's one number F z of scores on the common scale, (..., K) to (...).

    A mean counts no score for more than `CEILING`: an embedding far from all that was fitted on
    sends some scores to any height, and means no more than one that is merely far. One score
    alone is not held back.

    A score that is undefined, NaN, does not count: `any` and `mean` go over the others, and `all`
    cannot hold without it. Where no score is defined the number is −∞, which exceeds
    no threshold.
    """
    undefined = np.isnan(scaled)
    if rule == "mean":
        if scaled.shape[-1] > 1:
            scaled = np.minimum(scaled, CEILING)
        if not np.count_nonzero(undefined):
            return np.asarray(scaled.sum(axis=-1) / scaled.shape[-1])
        count = (~undefined).sum(axis=-1)
        total = np.where(undefined, 0.0, scaled).sum(axis=-1)
        return np.where(count > 0, total / np.maximum(count, 1), -np.inf)
    extreme = np.min if rule == "all" else np.max
    return np.asarray(extreme(np.where(undefined, -np.inf, scaled), axis=-1))
