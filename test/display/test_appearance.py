# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What tells states and scores apart can be told apart, with any colour vision and with none."""

from itertools import combinations

import cv2
import numpy as np
import pytest

from failure_monitor.display.appearance import (
    APPEARANCES,
    plain_letters,
)
from failure_monitor.display.score_bar import ABOVE_THRESHOLD, BELOW_THRESHOLD, ratio_text
from failure_monitor.monitoring.alarm import AlarmState

# What remains of linear red, green and blue where one kind of cone is missing; Machado et al.,
# "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009.
SEEN_WITH = {
    "all cones": np.eye(3),
    "no red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "no blue": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}

JUST_NOTICED = 2.3
"""The distance in CIELAB of colours that can just be told apart, side by side."""


def linear(colour) -> np.ndarray:
    share = np.array(colour) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def seen(colour, cones: str) -> np.ndarray:
    """Lightness and the two axes of colour, as somebody with these cones sees it."""
    remains = np.clip(SEEN_WITH[cones] @ linear(colour), 0, 1)
    coded = np.where(remains <= 0.0031308, 12.92 * remains, 1.055 * remains ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(coded.astype(np.float32)[np.newaxis, np.newaxis], cv2.COLOR_RGB2Lab)[0, 0]


def contrast(one, other) -> float:
    """Of the Web Content Accessibility Guidelines: 1 is none, 21 black on white."""
    lights = sorted(float(linear(colour) @ (0.2126, 0.7152, 0.0722)) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


@pytest.mark.parametrize("cones", SEEN_WITH)
def test_colours_are_told_apart_whatever_cones_somebody_has(cones):
    states = [look.colour for look in APPEARANCES.values()]
    for one, other in [*combinations(states, 2), (BELOW_THRESHOLD, ABOVE_THRESHOLD)]:
        # Not side by side, and not the same size: far more than what is just noticed.
        assert np.linalg.norm(seen(one, cones) - seen(other, cones)) > 5 * JUST_NOTICED


@pytest.mark.parametrize("state", AlarmState)
def test_a_word_is_read_easily_on_the_colour_of_its_state(state):
    look = APPEARANCES[state]
    assert contrast(look.ink, look.colour) >= 4.5


@pytest.mark.parametrize("state", AlarmState)
def test_a_large_word_in_the_colour_of_its_state_is_read_on_rviz_s_dark_ground(state):
    assert contrast(APPEARANCES[state].colour, (32, 32, 32)) >= 3


def test_no_state_has_the_sign_or_the_glyph_of_another():
    for part in ("sign", "glyph"):
        assert len({getattr(look, part) for look in APPEARANCES.values()}) == len(AlarmState)
    assert all(look.sign == plain_letters(look.sign) for look in APPEARANCES.values())
    assert all(len(look.glyph) == 1 for look in APPEARANCES.values())


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.0, "0.00"),
        (1.0, "1.00"),
        (1.004, "1.00 !"),
        (99.5, "99.50 !"),
        (100.0, ">99 !"),
        (float("inf"), ">99 !"),
        (-float("inf"), "<-99"),
        (float("nan"), "undefined"),
    ],
)
def test_only_what_is_over_has_an_exclamation_mark_however_large_it_is(ratio, words):
    assert ratio_text(ratio) == words
