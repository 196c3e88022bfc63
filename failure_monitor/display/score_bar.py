# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How a score is shown: the length and colour of its bar, and the ratio written beside it.

The ratio is that of the windowed score to its threshold. A bar is full at twice the threshold, so
the threshold is in its middle.
"""

from __future__ import annotations

import math

from failure_monitor.display.appearance import SKY_BLUE, VERMILLION, Colour

FULL_RATIO = 2.0
"""Ratio at which a bar is full; larger ratios fill it, too."""

BELOW_THRESHOLD: Colour = SKY_BLUE
"""Colour of a score up to its threshold."""

ABOVE_THRESHOLD: Colour = VERMILLION
"""Colour of a score above its threshold, whose ratio also has an exclamation mark."""


def bar_share(ratio: float) -> float:
    """Return the share of a bar that is filled, from 0 to 1; 0 for an undefined ratio."""
    return 0.0 if math.isnan(ratio) else min(max(ratio / FULL_RATIO, 0.0), 1.0)


def bar_colour(ratio: float) -> Colour:
    """Return the colour of a bar."""
    return ABOVE_THRESHOLD if ratio > 1 else BELOW_THRESHOLD


def ratio_text(ratio: float) -> str:
    """Return a ratio as it is written beside its bar; above 1 it has an exclamation mark."""
    if math.isnan(ratio):
        return "undefined"
    mark = " !" if ratio > 1 else ""
    return f"{ratio:.2f}{mark}" if abs(ratio) < 100 else f"{'>' if ratio > 0 else '<-'}99{mark}"
