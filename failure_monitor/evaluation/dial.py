# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a rule would do at every alpha, and which alpha a wish would need.

Alpha is the one dial: it sets how many calibration rollouts must lie below a decision that calls
for an alarm, k = ⌈(n+1)(1−alpha)⌉ of n. How many do is known for every decision, so the same
rollouts show the rule at any alpha, without a second calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from failure_monitor.evaluation.metrics import (
    IN_DISTRIBUTION_GROUPS,
    RolloutResult,
    clopper_pearson,
)
from failure_monitor.thresholds.conformal import rank, smallest_alpha

ALPHAS = tuple(round(0.01 * step, 2) for step in range(1, 31))
"""Of these the dial shows those that the calibration rollouts can promise."""


@dataclass(frozen=True)
class Share:
    """A share of rollouts, with its 95 % Clopper–Pearson interval.

    Attributes:
        events: in how many of them it happened.
        rollouts: how many there are.
    """

    events: int
    rollouts: int

    @property
    def value(self) -> float | None:
        """The share; None if there are no rollouts."""
        return self.events / self.rollouts if self.rollouts else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the rate; None if there are no rollouts."""
        return clopper_pearson(self.events, self.rollouts)


@dataclass(frozen=True)
class DialPoint:
    """What the rule does at one alpha.

    Attributes:
        alpha: the promised false-alarm rate.
        found_early: the failed rollouts with an early alarm.
        disturbed: the disturbed rollouts that succeeded, with an alarm at any time.
        undisturbed: the undisturbed rollouts that succeeded, with an alarm at any time.
        lead_time_s: from the alarm to the end, median over failed rollouts with one; None without.
    """

    alpha: float
    found_early: Share
    disturbed: Share
    undisturbed: Share
    lead_time_s: float | None


@dataclass(frozen=True)
class Wish:
    """Which alpha a wish for disturbed rollouts that succeed needs.

    Attributes:
        most: the wish: the largest share of them in which an alarm is accepted.
        point: the rule at the largest alpha that grants it; None if none does.
        smallest: the rule at the smallest alpha that the calibration rollouts can promise.
    """

    most: float
    point: DialPoint | None
    smallest: DialPoint

    @property
    def needed(self) -> int:
        """How many disturbed successes it takes to grant such a wish at all."""
        return int(np.ceil(round(1 / self.most, 9))) - 1


@dataclass(frozen=True)
class Dial:
    """The rule over alpha.

    Attributes:
        points: by rising alpha; the chosen alpha is among them.
        chosen: the alpha of the bundle.
    """

    points: tuple[DialPoint, ...]
    chosen: float

    @classmethod
    def of(cls, results: Sequence[RolloutResult], chosen: float) -> Dial | None:
        """Return the dial; None where it is unknown how calibration rollouts compare.

        Args:
            results: one per rollout.
            chosen: the alpha of the bundle.
        """
        if any(result.below is None for result in results):
            return None
        least = max(smallest_alpha(result.calibration_rollouts) for result in results)
        alphas = {alpha for alpha in ALPHAS if alpha > least - 1e-9} | {chosen}
        return cls(tuple(_point(results, alpha) for alpha in sorted(alphas)), chosen)

    def at(self, alpha: float) -> DialPoint:
        """Return the rule at one of the alphas."""
        return next(point for point in self.points if point.alpha == alpha)

    def wish(self, most: float) -> Wish:
        """Return the largest alpha at which disturbed successes raise few enough alarms.

        The alpha is chosen by the very rollouts that show its alarms. Therefore one more alarm
        counts than there is, in one more rollout: a further disturbed rollout that succeeds, if it
        is exchangeable with these, then raises one with a chance of at most the wish.
        """
        granted = [
            point
            for point in self.points
            if (point.disturbed.events + 1) / (point.disturbed.rollouts + 1) <= most
        ]
        return Wish(most, granted[-1] if granted else None, self.points[0])


def result_at(result: RolloutResult, alpha: float) -> RolloutResult:
    """Return the result that the rule would have had at another alpha: its alarms alone count."""
    if result.below is None:
        raise ValueError("it is unknown how calibration rollouts compare")
    k = rank(result.calibration_rollouts, alpha)
    return replace(result, levels=result.below / (k - 0.5))


def _point(results: Sequence[RolloutResult], alpha: float) -> DialPoint:
    at = [result_at(result, alpha) for result in results]
    successes = [result for result in at if result.success]
    failures = [result for result in at if not result.success]
    undisturbed = [result for result in successes if result.group in IN_DISTRIBUTION_GROUPS]
    disturbed = [result for result in successes if result.group not in IN_DISTRIBUTION_GROUPS]
    lead_times = [r.lead_time_s for r in failures if r.lead_time_s is not None]
    return DialPoint(
        alpha=alpha,
        found_early=Share(sum(result.alarms_early for result in failures), len(failures)),
        disturbed=Share(sum(result.alarms for result in disturbed), len(disturbed)),
        undisturbed=Share(sum(result.alarms for result in undisturbed), len(undisturbed)),
        lead_time_s=float(np.median(lead_times)) if lead_times else None,
    )
