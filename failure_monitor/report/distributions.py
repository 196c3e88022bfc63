# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where rollouts lie on one axis, a mark for each: levels, normalised scores, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from failure_monitor.bundle.description import RolloutSection
from failure_monitor.report.drawing import (
    ALARM_COLOUR,
    CONTROL_LINE,
    INK,
    Drawing,
    Kind,
    axes,
    drawing,
)

LEAST, MOST = -0.5, 4.0
"""Normalised scores beyond these are drawn at the edge: how far beyond carries no information."""

GOLDEN_RATIO = 0.618034
ROW_HEIGHT = 0.62
"""Inches."""
BOTTOM, TOP = 0.05, 0.65
"""Bottom and top of a row's marks, as shares of the row; its title stands above them."""


@dataclass(frozen=True)
class Strip:
    """The rollouts of one kind, and a number of each."""

    kind: Kind
    values: Sequence[float]


def level_strip(kind: Kind, rollouts: Sequence[RolloutSection]) -> Strip:
    """Return the largest level of each calibration rollout that has one."""
    return Strip(kind, [r.max_level for r in rollouts if r.max_level is not None])


def score_strip(kind: Kind, rollouts: Sequence[RolloutSection], score: str) -> Strip:
    """Return the largest normalised score of each calibration rollout in which it is defined."""
    largest = [rollout.max_normalised_scores.get(score) for rollout in rollouts]
    return Strip(kind, [value for value in largest if value is not None])


def normalised_strips(strips: Sequence[Strip], *, name: str, title: str, reading: str) -> Drawing:
    """Draw normalised scores or levels; those above 1 are above their threshold."""
    shown = [strip for strip in strips if len(strip.values)]
    with axes(0.75 + ROW_HEIGHT * max(1, len(shown))) as drawn:
        _draw(drawn, [Strip(s.kind, np.clip(s.values, LEAST, MOST).tolist()) for s in shown])
        largest = max((max(strip.values) for strip in shown), default=1.0)
        smallest = min((min(strip.values) for strip in shown), default=0.0)
        right = float(np.clip(largest, 1.3, MOST))
        left = float(np.clip(smallest, LEAST, 0.0))
        drawn.set_xlim(left - 0.08, right + 0.12)
        for row in range(len(shown)):
            drawn.fill_between(
                [1.0, right + 0.12],
                row + BOTTOM,
                row + TOP,
                facecolor=ALARM_COLOUR,
                alpha=0.08,
                linewidth=0,
            )
            drawn.vlines(1.0, row + BOTTOM, row + TOP, color=INK, linewidth=1.0)
        drawn.xaxis.set_major_locator(MultipleLocator(0.5 if right - left < 2.6 else 1.0))
        beyond = largest > MOST
        drawn.xaxis.set_major_formatter(
            FuncFormatter(lambda x, _: f"≥ {x:g}" if beyond and x == MOST else f"{x:g}")
        )
        drawn.set_xlabel("largest over its threshold; above 1: above its threshold")
    return drawing(drawn, name=name, title=title, reading=reading)


def length_strips(
    strips: Sequence[Strip], early: Sequence[float], *, name: str, title: str, reading: str
) -> Drawing:
    """Draw lengths in decisions, and until where decisions are early."""
    shown = [strip for strip in strips if len(strip.values)]
    with axes(0.75 + ROW_HEIGHT * len(shown)) as drawn:
        _draw(drawn, shown)
        for row in range(len(shown)):
            drawn.vlines(
                list(early),
                row + BOTTOM,
                row + TOP,
                color=INK,
                linewidth=1.0,
                linestyle=CONTROL_LINE,
            )
        drawn.set_xlim(0, 1.05 * max(max(strip.values) for strip in shown))
        drawn.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        drawn.set_xlabel("decisions; dashed: early until here" if early else "decisions")
    return drawing(drawn, name=name, title=title, reading=reading)


def _draw(drawn: Axes, strips: Sequence[Strip]) -> None:
    for row, strip in enumerate(reversed(strips)):
        ordered = np.sort(np.asarray(strip.values, dtype=np.float64))
        # Spread evenly and always alike: neighbours on the axis come to lie apart.
        spread = (np.arange(len(ordered)) * GOLDEN_RATIO) % 1.0
        is_cross = strip.kind.marker == "x"
        drawn.scatter(
            ordered,
            row + BOTTOM + 0.05 + (TOP - BOTTOM - 0.1) * spread,
            marker=strip.kind.marker,
            s=24 if strip.kind.marker == "^" else 15,
            linewidths=1.1 if is_cross else 0.4,
            facecolors=strip.kind.color,
            edgecolors=None if is_cross else "white",
            alpha=0.85,
            zorder=3,
        )
        drawn.text(
            0.0,
            row + TOP + 0.08,
            f"{strip.kind.title} ({len(ordered)})",
            transform=drawn.get_yaxis_transform(),
            fontsize=7.5,
            color="#333333",
        )
    drawn.set_ylim(0, max(1, len(strips)))
    drawn.set_yticks([])
    drawn.spines["left"].set_visible(False)
