# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of how well and how early alarms separate failures from successes.

Elapsed time is drawn beside them as the control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from failure_monitor.evaluation.metrics import RolloutResult, auroc, roc_curve
from failure_monitor.report.drawing import (
    ALARM_COLOUR,
    CONTROL_COLOUR,
    CONTROL_LINE,
    INK,
    PALE,
    RULE_COLOUR,
    SUCCESS,
    Drawing,
    axes,
    drawing,
)

LevelOf = Callable[[RolloutResult], float]
HEIGHT = 3.3
"""Inches."""


def roc_figures(
    rule: Sequence[RolloutResult], elapsed: Sequence[RolloutResult]
) -> tuple[Drawing, ...]:
    """Draw early and whole rollouts; none if there are no failures or no successes."""
    early = _roc(
        rule,
        elapsed,
        lambda result: result.early_max_level,
        name="early_roc",
        title="Early ROC: only decisions before the median length of calibration rollouts",
        reading="The figure that matters most. Each point is a threshold: the share of successful "
        "rollouts that would alarm, and of failed ones. The dot is the calibrated threshold. "
        "Elapsed time knows next to nothing here.",
    )
    whole = _roc(
        rule,
        elapsed,
        lambda result: result.max_level,
        name="roc",
        title="ROC over whole rollouts",
        reading="The same over whole rollouts. Failed rollouts run to their time limit, so "
        "elapsed time alone does well: what lies beneath its dashed curve is no merit.",
    )
    return tuple(found for found in (early, whole) if found is not None)


def _roc(
    rule: Sequence[RolloutResult],
    elapsed: Sequence[RolloutResult],
    level: LevelOf,
    *,
    name: str,
    title: str,
    reading: str,
) -> Drawing | None:
    if len({result.success for result in rule}) < 2:
        return None
    with axes(HEIGHT) as drawn:
        drawn.plot([0, 1], [0, 1], color=PALE, linewidth=1.0)
        _draw_curve(drawn, elapsed, level, "elapsed time", CONTROL_COLOUR, CONTROL_LINE)
        _draw_curve(drawn, rule, level, "the rule", RULE_COLOUR, "-")
        failed, successful = _split(rule, level)
        drawn.plot(
            [np.mean(np.array(successful) > 1)],
            [np.mean(np.array(failed) > 1)],
            marker="o",
            markersize=6.5,
            color=RULE_COLOUR,
            markeredgecolor="white",
            linestyle="none",
            label="the calibrated threshold",
            clip_on=False,
            zorder=4,
        )
        drawn.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        drawn.set(xlabel="successful rollouts with an alarm", ylabel="failed rollouts with one")
        drawn.legend(loc="lower right")
    return drawing(drawn, name=name, title=title, reading=reading)


def _split(results: Sequence[RolloutResult], level: LevelOf) -> tuple[list[float], list[float]]:
    return (
        [level(result) for result in results if not result.success],
        [level(result) for result in results if result.success],
    )


def _draw_curve(
    drawn: Axes,
    results: Sequence[RolloutResult],
    level: LevelOf,
    title: str,
    color: str,
    line: str | tuple[int, tuple[int, ...]],
) -> None:
    failed, successful = _split(results, level)
    curve, area = roc_curve(failed, successful), auroc(failed, successful)
    if curve is not None:
        label = f"{title}, area {area:.2f}"
        drawn.plot(*curve, color=color, linestyle=line, label=label, clip_on=False)


def detection_times(
    rule: Sequence[RolloutResult],
    elapsed: Sequence[RolloutResult],
    early_decisions: Sequence[float],
) -> Drawing:
    """Draw which share of rollouts had raised their alarm by which decision."""
    longest = max(result.decisions for result in rule)
    curves = (
        ("failed", False, rule, ALARM_COLOUR, "-", 1.8),
        ("failed, elapsed time", False, elapsed, CONTROL_COLOUR, CONTROL_LINE, 1.5),
        ("succeeded", True, rule, SUCCESS.color, "-.", 1.8),
    )
    with axes(2.9) as drawn:
        for title, success, results, color, line, width in curves:
            own = [result for result in results if result.success is success]
            if own:
                by_decision, share = _share_alarmed(own, longest)
                drawn.step(
                    by_decision,
                    share,
                    where="post",
                    color=color,
                    linestyle=line,
                    linewidth=width,
                    label=f"{title} ({len(own)})",
                )
        for decision in early_decisions:
            drawn.axvline(decision, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        drawn.set(xlim=(0, longest), ylim=(0, 1.02))
        drawn.set(xlabel="decision; dotted: early until here", ylabel="with an alarm by then")
        drawn.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        drawn.legend(loc="upper left", bbox_to_anchor=(0, 1.28), ncol=2, columnspacing=1.0)
    return drawing(
        drawn,
        name="detection_times",
        title="When alarms come",
        reading="The share of rollouts that had raised an alarm by each decision. A good rule "
        "climbs early for failed ones, before the dashed stop-watch starts, and stays low for "
        "successful ones.",
    )


def _share_alarmed(
    results: Sequence[RolloutResult], longest: int
) -> tuple[list[float], list[float]]:
    times = sorted(r.alarm_decision for r in results if r.alarm_decision is not None)
    shares = [(number + 1) / len(results) for number in range(len(times))]
    return [0.0, *map(float, times), float(longest)], [0.0, *shares, shares[-1] if shares else 0.0]
