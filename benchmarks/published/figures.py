# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of a method, and how far they depend on which rollouts it was tested on.

Those of `evaluation.metrics.measure`, for tests as they are and for tests drawn again with
replacement, many times at once: a test that was drawn twice weighs two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from failure_monitor.evaluation.metrics import (
    IN_DISTRIBUTION_GROUPS,
    RolloutResult,
    clopper_pearson,
)

EARLY = {
    "early_balanced_accuracy": "early bal. acc.",
    "early_auroc": "early AUROC",
    "early_tpr": "early TPR",
    "early_tnr": "early TNR",
    "false_alarm_rate": "false alarms",
}
"""Figures of ours, and what tables call them."""
PUBLISHED = {
    "twa": "TWA",
    "balanced_accuracy": "bal. acc.",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "detection_time": "detection time",
}
"""Figures that are published of others."""
FIGURES = (*EARLY, *PUBLISHED)
CONFIDENCE = 0.95

Draws: TypeAlias = dict[str, NDArray[np.float64]]
"""By figure, its value on the tests as they are, and then on those of every draw; (1 + R,)."""
Estimate: TypeAlias = "tuple[float, float, float]"
"""A value and its interval; NaN where it is undefined."""


def draw_again(tests: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Return how often each test counts: once, and then as often as it is drawn; (1 + R, m)."""
    drawn = np.random.default_rng(seed).multinomial(tests, np.full(tests, 1 / tests), size=draws)
    return np.concatenate([np.ones((1, tests), np.int64), drawn])


def figures_of(results: Sequence[RolloutResult], counts: NDArray[np.int64]) -> Draws:
    """Return every figure of results (m) that count so often, (1 + R, m)."""
    failed = np.array([not result.success for result in results])
    undisturbed = np.array([result.group in IN_DISTRIBUTION_GROUPS for result in results])
    alarms = np.array([result.alarms for result in results], float)
    early = np.array([result.alarms_early for result in results], float)
    longest = max(result.decisions for result in results)
    times = np.array([(result.alarm_decision or 0) / longest for result in results])
    failures, successes = counts * failed, counts * ~failed
    with np.errstate(invalid="ignore"):
        tpr, tnr = _share(failures, alarms), _share(successes, 1 - alarms)
        early_tpr, early_tnr = _share(failures, early), _share(successes, 1 - early)
        return {
            "early_balanced_accuracy": (early_tpr + early_tnr) / 2,
            "early_auroc": _auroc(results, failed, counts, "early_max_level"),
            "early_tpr": early_tpr,
            "early_tnr": early_tnr,
            "false_alarm_rate": _share(successes * undisturbed, alarms),
            "twa": (_share(failures, alarms * (1 - times)) + tnr) / 2,
            "balanced_accuracy": (tpr + tnr) / 2,
            "accuracy": _share(counts, np.where(failed, alarms, 1 - alarms)),
            "auroc": _auroc(results, failed, counts, "max_level"),
            "detection_time": _share(failures * (alarms > 0), times),
        }


def false_alarms(results: Sequence[RolloutResult]) -> tuple[int, int]:
    """Return how many undisturbed successes had an alarm, and how many there are."""
    own = [r.alarms for r in results if r.success and r.group in IN_DISTRIBUTION_GROUPS]
    return sum(own), len(own)


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Return the value of a figure and its interval, from what it is in all draws; (1 + R,)."""
    if np.isnan(values[0]):
        return np.nan, np.nan, np.nan
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(values[1:], [tail, 1 - tail])
    return float(values[0]), float(low), float(high)


def exact(events: int, trials: int) -> Estimate:
    """Return a share and its exact binomial interval: of none no draw shows how far it is off."""
    interval = clopper_pearson(events, trials, CONFIDENCE)
    return (np.nan, np.nan, np.nan) if interval is None else (events / trials, *interval)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean value over dealings, and the mean of both ends of their intervals."""
    low, middle, high = np.mean(estimates, axis=0)[[1, 0, 2]]
    return float(middle), float(low), float(high)


def _share(counts: NDArray[np.int64], events: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts @ events / counts.sum(axis=1))


def _auroc(
    results: Sequence[RolloutResult],
    failed: NDArray[np.bool_],
    counts: NDArray[np.int64],
    level: str,
) -> NDArray[np.float64]:
    """Return the chance that a failure's level exceeds a success's; ties count half."""
    levels = np.array([getattr(result, level) for result in results])
    above, below = levels[failed][:, np.newaxis], levels[~failed]
    wins = (above > below) + (above == below) / 2
    pairs = counts[:, failed].sum(axis=1) * counts[:, ~failed].sum(axis=1)
    return np.asarray(((counts[:, failed] @ wins) * counts[:, ~failed]).sum(axis=1) / pairs)
