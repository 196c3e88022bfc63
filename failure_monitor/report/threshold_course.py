# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds that follow the course of a task, decision by decision."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.report.drawing import (
    CONTROL_COLOUR,
    Drawing,
    axes,
    drawing,
    legend_above,
    shortened,
)
from failure_monitor.report.score_style import SCORE_STYLES, score_title


def threshold_courses(bundle: Bundle) -> tuple[Drawing, ...]:
    """Return a figure for each score of a bundle whose thresholds vary over time; else none."""
    if bundle.description.threshold != "time-varying":
        return ()
    return tuple(_course(bundle, index) for index in range(len(bundle.scores)))


def _course(bundle: Bundle, index: int) -> Drawing:
    centre = np.median(bundle.scale.centre[..., index], axis=1)
    decisions = np.arange(len(centre))
    with axes(2.2 + 0.17 * (len(bundle.description.promises) + 1)) as drawn:
        for number, promise in enumerate(bundle.description.promises):
            style = SCORE_STYLES[number % len(SCORE_STYLES)]
            task = f"threshold, {shortened(promise.task)}" if promise.task else "threshold"
            drawn.plot(
                decisions,
                bundle.threshold(promise.task).thresholds[:, index],
                color=style.color,
                linestyle=style.linestyle,
                label=task,
            )
        drawn.plot(decisions, centre, color=CONTROL_COLOUR, linestyle=":", label="usual course")
        drawn.set(xlabel="decision", ylabel="windowed score")
        drawn.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        legend_above(drawn)
    name = bundle.scores[index].name
    return drawing(
        drawn,
        name=f"course_{index}",
        title=f"Threshold of {score_title(name)} over a rollout",
        reading="Dotted: the median of successful rollouts at each decision. Past the longest of "
        "them the last values hold.",
    )
