# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is drawn around the camera's picture: always something, and true."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failure_monitor.display.appearance import APPEARANCES
from failure_monitor.display.overlay import (
    ASIDE,
    BACKGROUND,
    BANNER,
    LINE,
    MARGIN,
    MAX_LINES,
    MAX_LINES_EACH,
    WIDTH,
    draw_overlay,
)
from failure_monitor.display.score_bar import ABOVE_THRESHOLD, BELOW_THRESHOLD
from failure_monitor.display.state_text import NO_WORD, StateText
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.unfamiliarity import Unfamiliarity

TOP_OF_PICTURE = BANNER + MAX_LINES * LINE + MARGIN
GREEN = (10, 200, 30)


def text(
    state=AlarmState.ALARM, *reasons: str, title: str = "", permit: str = "no command passes"
) -> StateText:
    return StateText(state, title or state.value, permit, reasons or ("why",))


def plain(height: int = 480, width: int = 640) -> np.ndarray:
    return np.full((height, width, 3), GREEN, np.uint8)


def pixels_of(overlay: np.ndarray, colour) -> np.ndarray:
    return (overlay == np.array(colour)).all(axis=-1)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(AlarmState),
    st.text(max_size=600),
    st.one_of(st.none(), st.tuples(st.integers(1, 900), st.integers(1, 900))),
    st.dictionaries(st.text(max_size=40), st.floats(), max_size=12),
    st.one_of(st.none(), st.lists(st.floats(), min_size=4, max_size=4)),
    st.text(max_size=300),
)
def test_whatever_happens_is_drawn(state, reason, size, levels, share, why):
    overlay = draw_overlay(
        None if size is None else np.zeros((*size, 3), np.uint8),
        text(state, reason),
        levels,
        why_no_picture=why,
        unfamiliarity=share and Unfamiliarity(np.reshape(share, (2, 2)), "rnd_oe"),
    )
    assert overlay.dtype == np.uint8
    assert overlay.shape[1:] == (WIDTH, 3)


@pytest.mark.parametrize("state", AlarmState)
def test_banner_has_the_colour_of_its_state_and_a_sign_of_its_own(state):
    banners = {
        other: draw_overlay(plain(), text(other), {})[:BANNER, : BANNER + MARGIN]
        for other in AlarmState
    }
    assert pixels_of(banners[state], APPEARANCES[state].colour).mean() > 0.5
    ink = {other: pixels_of(banner, APPEARANCES[other].ink) for other, banner in banners.items()}
    assert ink[state].any()
    assert all((ink[state] != ink[other]).any() for other in AlarmState if other != state)


def test_word_and_reason_are_written():
    words = {
        state: draw_overlay(plain(), text(state), {})[:BANNER, BANNER + 16 :]
        for state in AlarmState
    }
    inks = [pixels_of(words[state], APPEARANCES[state].ink) for state in AlarmState]
    assert len({ink.tobytes() for ink in inks}) == len(AlarmState)
    one, other = (
        draw_overlay(plain(), text(AlarmState.ALARM, reason), {}) for reason in ("a", "b")
    )
    assert (one[BANNER:TOP_OF_PICTURE] != other[BANNER:TOP_OF_PICTURE]).any()
    assert (one[TOP_OF_PICTURE:] == other[TOP_OF_PICTURE:]).all()


def reason_pixels(reason: str) -> np.ndarray:
    """Where letters of the reason are, (rows, columns)."""
    banner = draw_overlay(plain(), text(AlarmState.ALARM, reason), {})[BANNER:TOP_OF_PICTURE]
    return (banner != np.array(BACKGROUND)).any(axis=-1)


@pytest.mark.parametrize("reason", ["word " * 200, "x" * 900, "/a/path/" * 30])
def test_long_reason_fills_its_lines_and_leaves_their_margins_free(reason):
    letters = reason_pixels(reason)
    assert not letters[:, :MARGIN].any()
    assert not letters[:, WIDTH - MARGIN :].any()
    for line in range(MAX_LINES_EACH):
        _, columns = np.nonzero(letters[LINE * line : LINE * (line + 1)])
        assert columns.max() > WIDTH / 2


def test_reason_that_is_cut_ends_with_dots_whatever_comes_behind():
    begin = "word " * 200
    np.testing.assert_array_equal(reason_pixels(begin), reason_pixels(f"{begin} and more"))
    short = "word " * 5
    assert (reason_pixels(short) != reason_pixels(f"{short} and more")).any()


def test_halt_and_permit_are_written():
    plainly = draw_overlay(plain(), text(), {})[:BANNER]
    halted = draw_overlay(plain(), text(title="ALARM - halted"), {})[:BANNER]
    permitted = draw_overlay(plain(), text(permit="commands pass"), {})[:BANNER]
    assert (plainly != halted).any()
    assert (plainly != permitted).any()


@pytest.mark.law(11)
def test_time_of_day_is_written_as_a_last_picture_stays():
    one, other = (
        draw_overlay(plain(), text(), {}, time_of_day=time) for time in ("17:03:11", "17:03:12")
    )
    assert (one[:BANNER] != other[:BANNER]).any()
    assert (one[BANNER:] == other[BANNER:]).all()


def test_longest_title_leaves_room_for_permit_and_time():
    def inks(title: str) -> np.ndarray:
        shown = text(AlarmState.STALE, title=title, permit="")
        return pixels_of(draw_overlay(plain(), shown, {})[:BANNER], (0, 0, 0))

    letters = inks(NO_WORD) & ~inks(" ")
    assert letters.any()
    assert not letters[:, WIDTH - ASIDE :].any()


def test_what_halted_and_what_is_now_are_both_written():
    halted, now = "halted 3 s ago: " + "word " * 200, "now NOMINAL: fine"
    whole = draw_overlay(plain(), text(AlarmState.ALARM, halted, now), {})
    other = draw_overlay(plain(), text(AlarmState.ALARM, halted, "now STALE: lost"), {})
    top = BANNER + MAX_LINES_EACH * LINE
    assert (whole[:top] == other[:top]).all()
    assert (whole[top:TOP_OF_PICTURE] != other[top:TOP_OF_PICTURE]).any()


def test_picture_is_shown_as_it_is():
    overlay = draw_overlay(plain(), text(), {})
    assert pixels_of(overlay[TOP_OF_PICTURE:][:480], GREEN).all()


def test_picture_of_any_proportions_keeps_them():
    wide = draw_overlay(plain(90, 320), text(), {})
    assert pixels_of(wide, GREEN).sum() == 640 * 180
    tall = draw_overlay(plain(400, 100), text(), {})
    assert pixels_of(tall, GREEN).sum() == 480 * 120


def test_bar_is_as_long_as_its_score_is_large():
    overlay = draw_overlay(plain(), text(), {"a": 0.5, "b": 1.0, "c": 1.5, "d": np.inf})
    rows = overlay[TOP_OF_PICTURE + 480 + MARGIN :]
    lengths = [
        pixels_of(rows[24 * index + 12], BELOW_THRESHOLD if index < 2 else ABOVE_THRESHOLD).sum()
        for index in range(4)
    ]
    half, whole, over, far = lengths
    assert whole == pytest.approx(2 * half, abs=4)
    assert over == pytest.approx(3 * half, abs=4)
    assert far == pytest.approx(4 * half, abs=4)


def test_undefined_score_has_no_bar_but_a_word():
    overlay = draw_overlay(plain(), text(), {"a": float("nan")})
    row = overlay[TOP_OF_PICTURE + 480 + MARGIN :][:24]
    assert not pixels_of(row, BELOW_THRESHOLD).any()
    assert not pixels_of(row, ABOVE_THRESHOLD).any()
    assert row[:, 540:].max() == 255


def test_unfamiliar_place_is_shaded_and_outlined_there_and_named():
    share = np.zeros((8, 8))
    share[2, 6] = 0.6
    shown = draw_overlay(plain(), text(), {}, unfamiliarity=Unfamiliarity(share, "rnd_oe"))[
        TOP_OF_PICTURE:
    ][:480]
    changed = ~pixels_of(shown, GREEN)
    rows, columns = np.nonzero(changed[: 480 - LINE])
    assert 2 * 60 - 60 <= rows.min() < rows.max() <= 3 * 60 + 60
    assert 6 * 80 - 80 <= columns.min() < columns.max() <= 7 * 80 + 80
    assert pixels_of(shown[: 480 - LINE], (255, 255, 255)).any()
    assert changed[480 - LINE :].all()


def test_caption_names_how_much_and_of_which_score():
    def caption(most: float, score: str) -> np.ndarray:
        share = np.zeros((8, 8))
        share[2, 6] = most
        shown = draw_overlay(plain(), text(), {}, unfamiliarity=Unfamiliarity(share, score))
        return shown[TOP_OF_PICTURE + 480 - LINE : TOP_OF_PICTURE + 480]

    first, more, other = caption(0.6, "rnd_oe"), caption(0.9, "rnd_oe"), caption(0.6, "knn")
    assert first.max() == 255
    assert (first != more).any()
    assert (first != other).any()


@pytest.mark.parametrize("most", [0.0, 0.05, float("nan")])
def test_place_that_explains_nothing_is_not_drawn(most):
    shown = draw_overlay(
        plain(), text(), {}, unfamiliarity=Unfamiliarity(np.full((8, 8), most), "rnd_oe")
    )
    assert pixels_of(shown[TOP_OF_PICTURE:][:480], GREEN).all()


def test_camera_s_picture_is_not_drawn_into():
    picture = plain()
    draw_overlay(picture, text(), {}, unfamiliarity=Unfamiliarity(np.ones((2, 2)), "rnd_oe"))
    assert pixels_of(picture, GREEN).all()
