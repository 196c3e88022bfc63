# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""States and score bars for a terminal."""

from __future__ import annotations

from rich.text import Text

from failure_monitor.display.appearance import APPEARANCES, hexadecimal
from failure_monitor.display.score_bar import bar_colour, bar_share
from failure_monitor.monitoring.alarm import AlarmState


def state_label(state: AlarmState, *, unicode: bool) -> Text:
    """Return a state's sign and name on its colour.

    Args:
        state: the state.
        unicode: whether the terminal shows more than ASCII.
    """
    appearance = APPEARANCES[state]
    sign = appearance.glyph if unicode else appearance.sign
    style = f"bold {hexadecimal(appearance.ink)} on {hexadecimal(appearance.colour)}"
    return Text(f" {sign} {state.value} ", style)


def bar(ratio: float, *, unicode: bool, cells: int) -> Text:
    """Return a score's bar, with a mark at the threshold in its middle.

    Args:
        ratio: of the score to its threshold.
        unicode: whether the terminal shows more than ASCII.
        cells: characters of the bar, an even number; the mark is one more.
    """
    full, empty, mark = ("█", "·", "│") if unicode else ("#", ".", "|")
    filled = round(bar_share(ratio) * cells)
    drawn = full * filled + empty * (cells - filled)
    middle = cells // 2
    return Text(drawn[:middle] + mark + drawn[middle:], hexadecimal(bar_colour(ratio)))
