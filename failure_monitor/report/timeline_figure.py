# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One rollout: every score over its threshold, decision by decision, and the alarm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from failure_monitor.report.drawing import (
    ALARM_COLOUR,
    CONTROL_COLOUR,
    INK,
    Drawing,
    axes,
    drawing,
    legend_above,
)
from failure_monitor.report.score_style import score_style, score_title
from failure_monitor.report.scored_rollout import ScoredRollout

LEAST, MOST = -1.0, 4.0
"""Normalised scores beyond these run along the edge."""

LEGEND_COLUMNS = 3


def timeline_figure(
    scored: ScoredRollout, scores: Sequence[str], rule: str, *, name: str
) -> Drawing:
    """Draw the level and the normalised scores of a rollout."""
    result = scored.result
    rows = -(-(len(scores) + 1) // LEGEND_COLUMNS)
    with axes(1.9 + 0.17 * rows) as drawn:
        # Wide and pale beneath the scores: with one score it runs along it.
        decisions = np.arange(result.decisions)
        drawn.plot(
            decisions,
            np.clip(result.levels, LEAST, MOST),
            color=CONTROL_COLOUR,
            alpha=0.4,
            linewidth=6,
            solid_capstyle="round",
            label=f"rule '{rule}'",
        )
        for index, score in enumerate(scores):
            style = score_style(index)
            drawn.plot(
                decisions,
                np.clip(scored.normalised[:, index], LEAST, MOST),
                color=style.color,
                linestyle=style.linestyle,
                marker=style.marker if result.decisions == 1 else None,
                linewidth=1.4,
                label=score_title(score),
            )
        drawn.axhline(1.0, color=INK, linewidth=1.0)
        _mark_alarm(drawn, scored)
        _mark_early(drawn, scored)
        drawn.set_ylim(*_limits(scored))
        drawn.set_xlim(-0.5, result.decisions - 0.5)
        drawn.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        drawn.yaxis.set_major_locator(MaxNLocator(5))
        drawn.set(xlabel="decision", ylabel="score / threshold")
        legend_above(drawn, ncol=LEGEND_COLUMNS, columnspacing=1.0, handletextpad=0.5)
    return drawing(drawn, name=name, title=f"Scores of {result.name}", reading="")


def _limits(scored: ScoredRollout) -> tuple[float, float]:
    """Return limits that hold 0, the threshold and all values, within bounds."""
    defined = scored.normalised[~np.isnan(scored.normalised)]
    shown = np.concatenate([defined, scored.result.levels])
    bottom, top = shown.min(initial=0.0), shown.max(initial=1.6)
    return max(float(bottom), LEAST) - 0.05, min(float(top), MOST) + 0.15


def _mark_alarm(drawn: Axes, scored: ScoredRollout) -> None:
    at = scored.result.alarm_decision
    if at is None:
        return
    drawn.axvline(at, color=ALARM_COLOUR, linewidth=1.8, zorder=1)
    leans_left = at > 0.7 * scored.result.decisions
    drawn.annotate(
        "alarm ▾" if leans_left else "▾ alarm",
        (at, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4 if leans_left else -4, 1),
        textcoords="offset points",
        ha="right" if leans_left else "left",
        va="bottom",
        fontsize=7.5,
        color="#9a4300",
    )


def _mark_early(drawn: Axes, scored: ScoredRollout) -> None:
    """Mark where early ends, if the rollout goes on beyond."""
    if scored.result.early_decisions < scored.result.decisions:
        drawn.axvline(
            scored.result.early_decisions - 0.5, color=INK, linewidth=0.9, linestyle=(0, (1, 2))
        )
