# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How well alarms separate failed rollouts from successful ones.

Failed rollouts run to their time limit and successful ones end before: a stop-watch scores high
wherever late alarms count. The figures named early count only the decisions before the median
length of the calibration rollouts, where a stop-watch knows nothing.

What cannot be measured on the rollouts at hand is None, never a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IN_DISTRIBUTION_GROUPS = frozenset({"", "id", "none"})
"""Groups of rollouts that nothing disturbed: what the promised false-alarm rate is about."""


@dataclass(frozen=True, eq=False)
class RolloutResult:
    """The result of a rule on one rollout of known outcome.

    Attributes:
        name: of the rollout.
        success: its outcome.
        group: what figures are broken down by, such as the kind of perturbation.
        levels: float64 (T,), T ≥ 1, the combined normalised score; above 1 is an alarm.
        stamps: float64 (T,), seconds.
        early_decisions: the median length of its task's calibration rollouts, in decisions; only
            decisions of a smaller number are early.
        task: what the robot was to do; empty where it is unknown.
        below: whole (T,), how many calibration rollouts lie below each decision; None if unknown.
        calibration_rollouts: n, with how many it was compared.
        intervention: whether a human intervened after its last decision; None if unknown.
    """

    name: str
    success: bool
    group: str
    levels: NDArray[np.float64]
    stamps: NDArray[np.float64]
    early_decisions: float = math.inf
    task: str = ""
    below: NDArray[np.int64] | None = None
    calibration_rollouts: int = 0
    intervention: bool | None = None

    @property
    def decisions(self) -> int:
        """T."""
        return len(self.levels)

    @property
    def duration_s(self) -> float:
        """From the first decision to the last one, in seconds."""
        return float(self.stamps[-1] - self.stamps[0])

    @property
    def alarm_decision(self) -> int | None:
        """The first decision whose level exceeds 1, from 0; None if none does."""
        over = np.flatnonzero(self.levels > 1.0)
        return int(over[0]) if over.size else None

    @property
    def alarms(self) -> bool:
        """Whether there is an alarm."""
        return self.alarm_decision is not None

    @property
    def alarms_early(self) -> bool:
        """Whether the alarm comes at an early decision."""
        return self.alarm_decision is not None and self.alarm_decision < self.early_decisions

    @property
    def max_level(self) -> float:
        """The largest level."""
        return float(self.levels.max())

    @property
    def early_max_level(self) -> float:
        """The largest level over the early decisions, of which there is at least one."""
        return float(self.levels[: math.ceil(min(self.early_decisions, self.decisions))].max())

    @property
    def lead_time_s(self) -> float | None:
        """From the alarm to the last decision, in seconds; None without an alarm."""
        if self.alarm_decision is None:
            return None
        return float(self.stamps[-1] - self.stamps[self.alarm_decision])


@dataclass(frozen=True)
class Metrics:
    """The figures of a rule over some rollouts; None where they are not defined.

    Attributes:
        n_success: successful rollouts.
        n_failure: failed rollouts.
        tpr: the share of failed rollouts with an alarm.
        tnr: the share of successful rollouts without one.
        balanced_accuracy: the mean of `tpr` and `tnr`.
        detection_time: the alarm's decision as a fraction of the longest rollout, mean over the
            failed rollouts with an alarm.
        twa: timestep-wise accuracy, ½ · (mean over failed rollouts of 1 − detection time, 0
            without an alarm, + `tnr`).
        early_tpr: `tpr`, where only early alarms count.
        early_tnr: `tnr`, where only early alarms count.
        early_balanced_accuracy: the mean of these.
        auroc: the area under the ROC curve of the rollouts' largest levels.
        early_auroc: the same of their largest early levels.
        false_alarm_rate: the share of successful in-distribution rollouts with an alarm.
        false_alarm_interval: its 95 % Clopper–Pearson interval.
        lead_time_s: from the alarm to the end, median over failed rollouts with an alarm.
        alarms_per_hour: alarms, at most one a rollout, per hour of all rollouts.
        interventions: rollouts in which a human intervened, of those of which that is known.
        interventions_foreseen: the share of these with an alarm before.
        intervention_lead_time_s: from the alarm to the intervention, median over these.
        unfollowed_alarms: rollouts with an alarm in which no human intervened.
    """

    n_success: int
    n_failure: int
    tpr: float | None
    tnr: float | None
    balanced_accuracy: float | None
    detection_time: float | None
    twa: float | None
    early_tpr: float | None
    early_tnr: float | None
    early_balanced_accuracy: float | None
    auroc: float | None
    early_auroc: float | None
    false_alarm_rate: float | None
    false_alarm_interval: tuple[float, float] | None
    lead_time_s: float | None
    alarms_per_hour: float | None
    interventions: int | None = None
    interventions_foreseen: float | None = None
    intervention_lead_time_s: float | None = None
    unfollowed_alarms: int | None = None


def measure(results: Sequence[RolloutResult], *, longest: int) -> Metrics:
    """Return the figures of a rule.

    Args:
        results: one per rollout.
        longest: the length, in decisions, of the longest rollout of the whole evaluation.
    """
    failures = [result for result in results if not result.success]
    successes = [result for result in results if result.success]
    undisturbed = [result for result in successes if result.group in IN_DISTRIBUTION_GROUPS]
    false_alarms = [result.alarms for result in undisturbed]
    tpr = _share(result.alarms for result in failures)
    tnr = _share(not result.alarms for result in successes)
    early_tpr = _share(result.alarms_early for result in failures)
    early_tnr = _share(not result.alarms_early for result in successes)
    remaining = [
        0.0 if result.alarm_decision is None else 1 - result.alarm_decision / longest
        for result in failures
    ]
    return Metrics(
        n_success=len(successes),
        n_failure=len(failures),
        tpr=tpr,
        tnr=tnr,
        balanced_accuracy=_half_sum(tpr, tnr),
        detection_time=_mean(
            [r.alarm_decision / longest for r in failures if r.alarm_decision is not None]
        ),
        twa=_half_sum(_mean(remaining), tnr),
        early_tpr=early_tpr,
        early_tnr=early_tnr,
        early_balanced_accuracy=_half_sum(early_tpr, early_tnr),
        auroc=auroc([r.max_level for r in failures], [r.max_level for r in successes]),
        early_auroc=auroc(
            [r.early_max_level for r in failures], [r.early_max_level for r in successes]
        ),
        false_alarm_rate=_share(false_alarms),
        false_alarm_interval=clopper_pearson(sum(false_alarms), len(undisturbed)),
        lead_time_s=_median([r.lead_time_s for r in failures if r.lead_time_s is not None]),
        alarms_per_hour=_alarms_per_hour(results),
        **_intervention_figures(results),
    )


def _intervention_figures(results: Sequence[RolloutResult]) -> dict[str, Any]:
    """Return the figures of interventions, over the rollouts of which these are known."""
    known = [result for result in results if result.intervention is not None]
    if not known:
        return {}
    ended = [result for result in known if result.intervention]
    leads = [result.lead_time_s for result in ended if result.lead_time_s is not None]
    return {
        "interventions": len(ended),
        "interventions_foreseen": _share(result.alarms for result in ended),
        "intervention_lead_time_s": _median(leads),
        "unfollowed_alarms": sum(result.alarms for result in known if not result.intervention),
    }


def auroc(failed: Sequence[float], successful: Sequence[float]) -> float | None:
    """Return the chance that a failed rollout's level exceeds a successful one's; ties count half.

    The area under the ROC curve by the rank sum (Mann and Whitney 1947); None if either is empty.
    """
    if not failed or not successful:
        return None
    _, inverse, counts = np.unique(
        np.concatenate([failed, successful]), return_inverse=True, return_counts=True
    )
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2
    n = len(failed)
    wins = mid_ranks[inverse[:n]].sum() - n * (n + 1) / 2
    return float(wins / (n * len(successful)))


def roc_curve(
    failed: Sequence[float], successful: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """False-alarm and detection rate at every threshold, from none over it to all of them.

    None if there are no failed or no successful rollouts; `auroc` is the area beneath.
    """
    if not failed or not successful:
        return None
    thresholds = np.unique([*failed, *successful])[::-1]
    alarms, detections = (
        np.searchsorted(np.sort(-np.array(levels)), -thresholds, side="right") / len(levels)
        for levels in (successful, failed)
    )
    return np.concatenate([[0.0], alarms]), np.concatenate([[0.0], detections])


def clopper_pearson(
    events: int, trials: int, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return the exact binomial interval (Clopper and Pearson 1934); None without trials."""
    if trials == 0:
        return None
    # scipy.stats takes long to load, and most importers of this module need no interval.
    from scipy.stats import binomtest

    interval = binomtest(events, trials).proportion_ci(confidence_level=confidence, method="exact")
    return float(interval.low), float(interval.high)


def _share(events: Iterable[bool]) -> float | None:
    return _mean([float(event) for event in events])


def _alarms_per_hour(results: Sequence[RolloutResult]) -> float | None:
    hours = sum(result.duration_s for result in results) / 3600
    alarms = sum(result.alarms for result in results)
    return alarms / hours if hours > 0 else None


def _half_sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else (one + other) / 2


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
