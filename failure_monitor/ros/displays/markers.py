# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All markers for RViz: state and reason, scores, and the fan of chunks.

Every marker has a fixed namespace and id, so that the next one replaces it, and a lifetime, so
that all of them vanish with the node that publishes them. No number in them is NaN or infinite.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from geometry_msgs.msg import Point
from visualization_msgs.msg import Marker

from failure_monitor.display.appearance import APPEARANCES, WHITE
from failure_monitor.display.state_text import StateText
from failure_monitor.ros.displays.chunk_fan import Fan, fan_markers
from failure_monitor.ros.displays.marker_parts import REASON, STATE, Layout, text_marker
from failure_monitor.ros.displays.score_panel import ScoreBar, ScorePanel

MAX_LINES, MAX_LINES_EACH, LINE_LETTERS = 6, 3, 56
"""Lines of the reason, of a paragraph of it, and letters in each line."""

REASON_SIZE, LINE_SPACING = 0.9, 1.45
"""Size of the reason's letters in the layout's size, and RViz's line spacing in theirs."""


def markers(
    text: StateText,
    bars: Sequence[ScoreBar],
    fan: Fan | None,
    layout: Layout,
    *,
    seconds: float,
) -> list[Marker]:
    """Return all markers of this moment.

    Args:
        text: the monitor's state.
        bars: one for each score.
        fan: the chunks; None if there is nothing to draw.
        layout: where to draw.
        seconds: how far back the curves reach.
    """
    panel = ScorePanel(layout, seconds)
    drawn = [*_state(text, layout), *panel.scores(bars)]
    return drawn if fan is None else drawn + fan_markers(fan, layout)


def _state(text: StateText, layout: Layout) -> list[Marker]:
    appearance, size = APPEARANCES[text.state], layout.size
    x, y, z = layout.panel
    lines = [line for paragraph in text.paragraphs for line in _wrapped(paragraph)]
    lines = lines[:MAX_LINES]
    above = z + ScorePanel.HEIGHT * size
    reason_height = LINE_SPACING * REASON_SIZE * size * len(lines)
    return [
        text_marker(
            layout,
            STATE,
            0,
            f"{appearance.sign} {text.title}",
            Point(x=x, y=y, z=above + reason_height + 1.6 * size),
            2.0 * size,
            appearance.colour,
        ),
        text_marker(
            layout,
            REASON,
            0,
            "\n".join(lines),
            Point(x=x, y=y, z=above + reason_height / 2),
            REASON_SIZE * size,
            WHITE,
        ),
    ]


def _wrapped(paragraph: str) -> list[str]:
    lines = textwrap.wrap(paragraph, LINE_LETTERS) or [""]
    if len(lines) <= MAX_LINES_EACH:
        return lines
    last = lines[MAX_LINES_EACH - 1][: LINE_LETTERS - 4]
    return [*lines[: MAX_LINES_EACH - 1], f"{last} ..."]
