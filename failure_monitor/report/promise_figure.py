# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The promised false-alarm rate, where the true one may lie, and what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.stats import beta

from failure_monitor.bundle.description import PromiseSection
from failure_monitor.evaluation.metrics import (
    IN_DISTRIBUTION_GROUPS,
    RolloutResult,
    clopper_pearson,
)
from failure_monitor.report.drawing import (
    ALARM_COLOUR,
    CONTROL_LINE,
    INK,
    RULE_COLOUR,
    Drawing,
    axes,
    drawing,
    shortened,
)

ROW_HEIGHT = 0.95
"""Inches."""


@dataclass(frozen=True)
class MeasuredRate:
    """How many of some rollouts raised a false alarm, and the 95 % interval of their rate."""

    alarms: int
    rollouts: int

    @property
    def rate(self) -> float:
        """The share."""
        return self.alarms / self.rollouts

    @property
    def interval(self) -> tuple[float, float]:
        """By Clopper and Pearson."""
        return clopper_pearson(self.alarms, self.rollouts) or (0.0, 1.0)


def measured_rate(results: Sequence[RolloutResult]) -> MeasuredRate | None:
    """Return the rate among the undisturbed rollouts that succeeded; None without any."""
    undisturbed = [
        result.alarms
        for result in results
        if result.success and result.group in IN_DISTRIBUTION_GROUPS
    ]
    return MeasuredRate(sum(undisturbed), len(undisturbed)) if undisturbed else None


def promise_figure(
    promises: Sequence[PromiseSection], alpha: float, measured: Sequence[MeasuredRate | None]
) -> Drawing:
    """Draw the density of the true rate, its interval and the measured rate, a row per task."""
    found = [rate for rate in measured if rate is not None]
    right = max(
        2 * alpha,
        *(1.15 * promise.false_alarm_interval_90[1] for promise in promises),
        *(1.1 * rate.interval[1] for rate in found),
    )
    rates = np.linspace(1e-6, min(1.0, right), 240)
    with axes(0.6 + ROW_HEIGHT * len(promises)) as drawn:
        for row, (promise, rate) in enumerate(zip(promises[::-1], measured[::-1], strict=True)):
            n, k = promise.tasks or promise.counting or promise.rollouts, promise.rank
            density = beta.pdf(rates, n + 1 - k, k)
            height = 0.5 * density / density.max()
            low, high = promise.false_alarm_interval_90
            inside = (rates >= low) & (rates <= high)
            base = row + 0.3
            drawn.plot(rates, base + height, color=RULE_COLOUR, linewidth=1.0)
            drawn.fill_between(rates, base, base + height, color=RULE_COLOUR, alpha=0.12)
            drawn.fill_between(
                rates, base, base + height, where=inside, color=RULE_COLOUR, alpha=0.3
            )
            if rate is not None:
                left, end = rate.interval
                drawn.plot([left, end], [row + 0.13] * 2, color=INK, linewidth=1.4)
                drawn.plot(
                    [rate.rate], [row + 0.13], color=INK, marker="D", markersize=4.5, clip_on=False
                )
            if len(promises) > 1:
                drawn.text(
                    0.99,
                    row + 0.84,
                    shortened(promise.task),
                    transform=drawn.get_yaxis_transform(),
                    ha="right",
                    fontsize=7.5,
                )
        drawn.axvline(alpha, color=ALARM_COLOUR, linewidth=1.3, linestyle=CONTROL_LINE)
        drawn.annotate(
            f"promised: at most {100 * alpha:g} %",
            (alpha, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            va="bottom",
            fontsize=7.5,
            color="#9a4300",
        )
        drawn.set_xlim(0, min(1.0, right))
        drawn.set_ylim(0, len(promises))
        drawn.set_yticks([])
        drawn.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        drawn.xaxis.set_major_locator(MaxNLocator(5))
        drawn.spines["left"].set_visible(False)
        drawn.set_xlabel("chance that a successful rollout raises an alarm")
    reading = (
        "Dashed: what was promised. The hill: where the true rate may lie, given this many "
        "calibration rollouts; its dark part holds 90 % of it."
    )
    if found:
        reading += " The diamond: what was measured, with its 95 % interval."
    return drawing(drawn, name="promise", title="The promise and its interval", reading=reading)
