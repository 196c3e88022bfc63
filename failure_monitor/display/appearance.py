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
"""A colour as red, green and blue, 0 to 255."""

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
    """The appearance of one state.

    Attributes:
        colour: the background of the state's name.
        ink: the colour of the name itself, legible on the background.
        sign: the state's sign in ASCII.
        glyph: the state's sign as one Unicode character.
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
    """Return a colour as hexadecimal, such as `#d55e00`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def plain_letters(text: str) -> str:
    """Return a text in ASCII, for fonts without other letters."""
    return text.replace("–", "-").replace("×", "x").encode("ascii", "replace").decode("ascii")
