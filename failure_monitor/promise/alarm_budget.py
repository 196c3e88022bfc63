# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a promised false-alarm rate means in a week, and which rate a week can bear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from failure_monitor.bundle.description import PromiseSection
from failure_monitor.errors import UsageError
from failure_monitor.thresholds.conformal import false_alarm_interval, needed_rollouts

DAYS = 7

USUAL_ROLLOUTS_PER_DAY = 100.0

LEAST_ALPHA = 1e-14
"""Below this, numbers of rollouts mean nothing any more."""


@dataclass(frozen=True)
class AlarmBudget:
    """False stops in a week of successful rollouts.

    Attributes:
        rollouts_per_day: how many there are.
        at_most: false stops on average, over the draw of the calibration rollouts.
        interval_90: where their average lies, given these calibration rollouts.
    """

    rollouts_per_day: float
    at_most: float
    interval_90: tuple[float, float]

    @property
    def text(self) -> str:
        """The budget as text."""
        low, high = self.interval_90
        return (
            f"at {self.rollouts_per_day:g} successful rollouts a day at most "
            f"{_number(self.at_most)} false stops a week on average; given these calibration "
            f"rollouts {_number(low)} to {_number(high)} (90 %)"
        )


@dataclass(frozen=True)
class NeededCalibration:
    """What keeps false stops below a number.

    Attributes:
        stops_per_week: the number.
        rollouts_per_day: of successful rollouts.
        alpha: the largest alpha.
        rollouts: the smallest number of calibration rollouts for this alpha.
        sure_rollouts: the smallest number with which the upper end of the 90 % interval lies
            below 1.5 times alpha.
    """

    stops_per_week: float
    rollouts_per_day: float
    alpha: float
    rollouts: int
    sure_rollouts: int

    @property
    def text(self) -> str:
        """What is needed as text."""
        return (
            f"for at most {self.stops_per_week:g} false stops a week at "
            f"{self.rollouts_per_day:g} rollouts a day: alpha {self.alpha:.3g} or less, from "
            f"{self.rollouts} or more calibration rollouts; with {self.sure_rollouts} it is at "
            "most half as many again, whichever were recorded (95 %)"
        )


def alarm_budget(promise: PromiseSection, alpha: float, rollouts_per_day: float) -> AlarmBudget:
    """Return what a promise means at so many successful rollouts a day."""
    week = DAYS * rollouts_per_day
    low, high = promise.false_alarm_interval_90
    return AlarmBudget(rollouts_per_day, week * alpha, (week * low, week * high))


def needed_calibration(stops_per_week: float, rollouts_per_day: float) -> NeededCalibration:
    """Return what keeps false stops at or below a number a week.

    Raises:
        UsageError: no number of rollouts that anyone could record promises so few.
    """
    # At alpha 0.5 a monitor is of no use, and any number of rollouts will do.
    alpha = min(stops_per_week / (DAYS * rollouts_per_day), 0.5)
    if alpha < LEAST_ALPHA:
        raise UsageError(
            f"no calibration promises as few as {stops_per_week:g} false stops a week at "
            f"{rollouts_per_day:g} rollouts a day: ask for more"
        )
    rollouts = max(needed_rollouts(alpha), 1)
    return NeededCalibration(
        stops_per_week, rollouts_per_day, alpha, rollouts, _sure_rollouts(alpha, rollouts)
    )


def _sure_rollouts(alpha: float, rollouts: int) -> int:
    """Return for how many rollouts the interval is narrow, by halving."""
    low = high = rollouts
    while false_alarm_interval(high, alpha)[1] > 1.5 * alpha:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        narrow = false_alarm_interval(middle, alpha)[1] <= 1.5 * alpha
        low, high = (low, middle) if narrow else (middle, high)
    return high


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.2g}"


def budget_rows(
    promises: Sequence[PromiseSection],
    alpha: float,
    rollouts_per_day: float = USUAL_ROLLOUTS_PER_DAY,
    stops_per_week: float | None = None,
) -> list[tuple[str, str]]:
    """Return what promises mean in a week, and what a wish would take, as headings and texts.

    Args:
        promises: of each task.
        alpha: the promised false-alarm rate.
        rollouts_per_day: of successful rollouts.
        stops_per_week: the wish; None for none.
    """
    rows = []
    for promise in promises:
        of = f" of {promise.task}" if len(promises) > 1 else ""
        rows.append((f"alarm budget{of}", alarm_budget(promise, alpha, rollouts_per_day).text))
    if stops_per_week is not None:
        rows.append(("needed", needed_calibration(stops_per_week, rollouts_per_day).text))
    return rows
