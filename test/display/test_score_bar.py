# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from failure_monitor.display.appearance import APPEARANCES, hexadecimal
from failure_monitor.display.score_bar import (
    ABOVE_THRESHOLD,
    BELOW_THRESHOLD,
    bar_colour,
    bar_share,
)
from failure_monitor.display.terminal import bar, state_label
from failure_monitor.monitoring.alarm import AlarmState


@pytest.mark.parametrize(
    ("ratio", "share"),
    [
        (-math.inf, 0.0),
        (-1.0, 0.0),
        (0.0, 0.0),
        (0.5, 0.25),
        (1.0, 0.5),
        (2.0, 1.0),
        (9.0, 1.0),
        (math.inf, 1.0),
        (math.nan, 0.0),
    ],
)
def test_a_bar_is_full_at_twice_the_threshold(ratio: float, share: float) -> None:
    assert bar_share(ratio) == share
    text = bar(ratio, unicode=True, cells=20).plain
    assert text.count("█") == 20 * share
    assert text[10] == "│"


def test_only_a_score_above_its_threshold_has_the_colour_of_an_alarm() -> None:
    colours = [bar_colour(ratio) for ratio in (0.0, 1.0, math.nan, 1.001)]
    assert colours == [*3 * [BELOW_THRESHOLD], ABOVE_THRESHOLD]
    assert APPEARANCES[AlarmState.ALARM].colour == ABOVE_THRESHOLD


@pytest.mark.parametrize("state", AlarmState)
def test_a_terminal_shows_a_state_in_the_colours_of_all_displays(state: AlarmState) -> None:
    look = APPEARANCES[state]
    label = state_label(state, unicode=False)
    assert label.plain == f" {look.sign} {state.value} "
    assert label.style == f"bold {hexadecimal(look.ink)} on {hexadecimal(look.colour)}"
