# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The one table of colours and signs of the alarm's states, for every display.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with any
kind of colour vision can tell apart. Each comes with a word and a sign, so that no state is shown
by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from failure_monitor.monitoring.alarm import AlarmState

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
GREY: Colour = (153, 153, 153)
SKY_BLUE: Colour = (86, 180, 233)
BLUISH_GREEN: Colour = (0, 158, 115)
YELLOW: Colour = (240, 228, 66)
VERMILLION: Colour = (213, 94, 0)
BLUE: Colour = (0, 114, 178)
ORANGE: Colour = (230, 159, 0)
REDDISH_PURPLE: Colour = (204, 121, 167)


@dataclass(frozen=True)
class Appearance:
    """How one state looks.

    Attributes:
        colour: behind its word.
        ink: of the word itself, to be read on the colour.
        sign: in letters that every font has.
        glyph: the same in one character, where fonts have more.
    """

    colour: Colour
    ink: Colour
    sign: str
    glyph: str


APPEARANCES: Mapping[AlarmState, Appearance] = {
    AlarmState.NOMINAL: Appearance(BLUISH_GREEN, BLACK, "(ok)", "✔"),
    AlarmState.CAUTION: Appearance(YELLOW, BLACK, "/!\\", "▲"),
    AlarmState.ALARM: Appearance(VERMILLION, BLACK, "[X]", "✖"),
    AlarmState.STALE: Appearance(GREY, BLACK, "(?)", "?"),
}


def hexadecimal(colour: Colour) -> str:
    """A colour as pages and figures name it, such as `#d55e00`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def plain_letters(text: str) -> str:
    """The text in ASCII, for fonts that have nothing else."""
    return text.replace("–", "-").replace("×", "x").encode("ascii", "replace").decode("ascii")
