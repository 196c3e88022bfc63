# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Styles of score curves: colour, line and marker, each of which identifies the score."""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.display.appearance import (
    BLUE,
    BLUISH_GREEN,
    ORANGE,
    REDDISH_PURPLE,
    SKY_BLUE,
    hexadecimal,
)

SCORE_NAMES = {"rnd_oe": "RND-OE", "ace": "ACE"}
"""Scores as the literature spells them."""


@dataclass(frozen=True)
class ScoreStyle:
    """How one score is drawn."""

    color: str
    linestyle: str | tuple[float, tuple[float, ...]]
    marker: str


SCORE_STYLES = (
    ScoreStyle(hexadecimal(BLUE), "-", "o"),
    ScoreStyle(hexadecimal(ORANGE), "--", "s"),
    ScoreStyle(hexadecimal(BLUISH_GREEN), "-.", "^"),
    ScoreStyle(hexadecimal(REDDISH_PURPLE), ":", "D"),
    ScoreStyle(hexadecimal(SKY_BLUE), (0, (5, 1)), "v"),
    ScoreStyle(hexadecimal(BLUE), (0, (1, 1)), "P"),
    ScoreStyle(hexadecimal(ORANGE), (0, (6, 1, 1, 1, 1, 1)), "X"),
    ScoreStyle(hexadecimal(BLUISH_GREEN), (0, (8, 2)), "*"),
)


def score_style(index: int) -> ScoreStyle:
    """Return the style of the rule's score of this number."""
    return SCORE_STYLES[index % len(SCORE_STYLES)]


def score_title(name: str) -> str:
    """Return the title of a score in a figure."""
    return SCORE_NAMES.get(name, name.replace("_", " "))
