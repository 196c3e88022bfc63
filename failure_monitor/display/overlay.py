# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The overlay: the alarm and the scores, drawn around a camera's picture.

Above the picture is a banner in the state's colour, with its sign, its name, the time of day and
the reason; below it a bar for each score against its threshold. The picture itself is unchanged,
except for the places that make it unfamiliar, if these are known.

The time of day is for viewers that keep the last picture of a publisher that has died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from failure_monitor.display.appearance import (
    APPEARANCES,
    BLACK,
    GREY,
    WHITE,
    Colour,
    plain_letters,
)
from failure_monitor.display.score_bar import FULL_RATIO, bar_colour, bar_share, ratio_text
from failure_monitor.display.state_text import StateText
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.unfamiliarity import Unfamiliarity

Picture = NDArray[np.uint8]
"""An RGB picture, (height, width, 3)."""

WIDTH, MAX_HEIGHT = 640, 480
"""Width of the overlay, and largest height of the camera's picture in it, in pixels."""

BANNER, LINE, ROW, MARGIN = 64, 20, 24, 8
"""Heights in pixels of the banner, a line of the reason and a score's row; and the margin."""

MAX_LINES, MAX_LETTERS = 6, 40
"""Largest number of lines of the reason, and of letters before a word is broken."""
MAX_LINES_EACH = 3
"""Largest number of lines of a paragraph of it."""
MAX_ROWS = 8
"""Largest number of scores that are drawn."""
MIN_SHARE = 0.1
"""Smallest share of the unfamiliarity that is drawn."""

TITLE, SENTENCE, LABEL = 1.1, 0.55, 0.48
"""Sizes of the letters of the state, of sentences, and of labels beside a bar."""

ASIDE = 160
"""Width in pixels of what stands at the right of the banner."""

BACKGROUND: Colour = (24, 24, 24)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_overlay(
    picture: Picture | None,
    text: StateText,
    levels: Mapping[str, float],
    *,
    time_of_day: str = "",
    why_no_picture: str = "",
    unfamiliarity: Unfamiliarity | None = None,
) -> Picture:
    """Return the overlay, 640 pixels wide.

    Args:
        picture: the camera's picture; None if there is none.
        text: the monitor's state.
        levels: the normalised scores by name; NaN where undefined.
        time_of_day: when the overlay is drawn.
        why_no_picture: why there is no picture, which is written in its place.
        unfamiliarity: where the picture is unfamiliar; None if unknown.
    """
    shown = _no_picture(why_no_picture) if picture is None else _fitted(picture)
    if picture is not None and unfamiliarity is not None:
        _draw_unfamiliarity(shown, unfamiliarity)
    return np.concatenate([_banner(text, time_of_day), shown, _scores(levels)])


def _write(
    canvas: Picture, text: str, place: tuple[int, int], ink: Colour, size: float, width: int = 1
) -> None:
    cv2.putText(canvas, plain_letters(text), place, FONT, size, ink, width, cv2.LINE_AA)


def _wrapped(text: str) -> list[str]:
    """Return a sentence in lines of the overlay's width.

    Lines are measured, because the fonts of OpenCV 4 and 5 differ.
    """
    lines: list[str] = []
    for word in _words(plain_letters(text)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and not _fits(longer):
            lines.append(word)
        else:
            lines[-1:] = [longer]
    if len(lines) <= MAX_LINES_EACH:
        return lines
    last = lines[MAX_LINES_EACH - 1]
    while not _fits(f"{last} ..."):
        last = last[:-1]
    return [*lines[: MAX_LINES_EACH - 1], f"{last} ..."]


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text, of which long ones such as paths are broken."""
    for word in text.split():
        for start in range(0, len(word), MAX_LETTERS):
            yield word[start : start + MAX_LETTERS]


def _fits(line: str) -> bool:
    (width, _), _ = cv2.getTextSize(line, FONT, SENTENCE, 1)
    return bool(width <= WIDTH - 2 * MARGIN)


def _blank(height: int, colour: Colour) -> Picture:
    return np.full((height, WIDTH, 3), colour, np.uint8)


# The picture


def _fitted(picture: Picture) -> Picture:
    """Return a copy of the overlay's width; a picture that is too tall has bars at its sides."""
    height, width = picture.shape[:2]
    scale = min(WIDTH / width, MAX_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(picture, size, interpolation=method)
    canvas = _blank(size[1], BACKGROUND)
    left = (WIDTH - size[0]) // 2
    canvas[:, left : left + size[0]] = scaled
    return canvas


def _no_picture(why: str) -> Picture:
    canvas = _blank(MAX_HEIGHT // 2, BACKGROUND)
    for number, line in enumerate(_wrapped(why)):
        _write(canvas, line, (MARGIN, MAX_HEIGHT // 4 + LINE * number), WHITE, SENTENCE)
    return canvas


def _draw_unfamiliarity(shown: Picture, unfamiliarity: Unfamiliarity) -> None:
    """Shade unfamiliar places, outline the most unfamiliar ones, and write what that means."""
    height, width = shown.shape[:2]
    share = np.nan_to_num(np.clip(unfamiliarity.share, 0.0, 1.0)).astype(np.float32)
    if share.max(initial=0.0) < MIN_SHARE:
        return
    wide: NDArray[np.float32] = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
    shades = cv2.applyColorMap((255 * wide / wide.max()).astype(np.uint8), cv2.COLORMAP_CIVIDIS)
    opacity = 0.6 * (wide / wide.max())[..., np.newaxis]
    opacity[wide < MIN_SHARE] = 0
    shown[:] = (1 - opacity) * shown + opacity * shades[..., ::-1]
    outstanding = (wide > wide.max() / 2).astype(np.uint8)
    contours, _ = cv2.findContours(outstanding, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for ink, thickness in ((BLACK, 4), (WHITE, 2)):
        cv2.drawContours(shown, contours, -1, ink, thickness)
    # On a background of its own, as the picture may have any colour.
    shown[height - LINE :] = BACKGROUND
    legend = f"outlined: unfamiliar, up to {share.max():.0%} of {unfamiliarity.score}"
    _write(shown, legend, (MARGIN, height - 6), WHITE, LABEL)


# The banner


def _banner(text: StateText, time_of_day: str) -> Picture:
    appearance = APPEARANCES[text.state]
    canvas = _blank(BANNER + MAX_LINES * LINE + MARGIN, BACKGROUND)
    canvas[:BANNER] = appearance.colour
    ink = appearance.ink
    _SIGNS[text.state](canvas, (BANNER // 2 + MARGIN, BANNER // 2), BANNER // 2 - MARGIN, ink)
    left, right = BANNER + 2 * MARGIN, WIDTH - ASIDE
    size = _largest(text.title, right - left - MARGIN)
    _write(canvas, text.title, (left, BANNER - 20), ink, size, 2)
    _write(canvas, text.permit, (right, BANNER - 38), ink, 0.5)
    _write(canvas, time_of_day, (right, BANNER - 14), ink, 0.5)
    lines = [line for paragraph in text.paragraphs for line in _wrapped(paragraph)]
    for number, line in enumerate(lines[:MAX_LINES]):
        _write(canvas, line, (MARGIN, BANNER + LINE * (number + 1) - 4), WHITE, SENTENCE)
    return canvas


def _largest(title: str, room: int) -> float:
    """Return the size of letters at which a title fits."""
    (width, _), _ = cv2.getTextSize(title, FONT, TITLE, 2)
    return float(min(TITLE, TITLE * room / width))


def _tick(canvas: Picture, centre: tuple[int, int], size: int, ink: Colour) -> None:
    x, y = centre
    cv2.circle(canvas, centre, size, ink, 2, cv2.LINE_AA)
    stroke = np.array(
        [(x - size // 2, y), (x - size // 8, y + size // 3), (x + size // 2, y - size // 3)]
    )
    cv2.polylines(canvas, [stroke], False, ink, 3, cv2.LINE_AA)


def _warning(canvas: Picture, centre: tuple[int, int], size: int, ink: Colour) -> None:
    x, y = centre
    corners = np.array([(x, y - size), (x + size, y + size - 4), (x - size, y + size - 4)])
    cv2.polylines(canvas, [corners], True, ink, 2, cv2.LINE_AA)
    cv2.line(canvas, (x, y - size // 3), (x, y + size // 4), ink, 3, cv2.LINE_AA)
    cv2.circle(canvas, (x, y + size // 2 + 2), 2, ink, -1, cv2.LINE_AA)


def _stop(canvas: Picture, centre: tuple[int, int], size: int, ink: Colour) -> None:
    x, y = centre
    angles = np.deg2rad(22.5 + 45 * np.arange(8))
    corners = np.stack([x + size * np.cos(angles), y + size * np.sin(angles)], axis=1)
    cv2.polylines(canvas, [corners.round().astype(np.int32)], True, ink, 2, cv2.LINE_AA)
    half = size // 3
    cv2.line(canvas, (x - half, y - half), (x + half, y + half), ink, 3, cv2.LINE_AA)
    cv2.line(canvas, (x - half, y + half), (x + half, y - half), ink, 3, cv2.LINE_AA)


def _question(canvas: Picture, centre: tuple[int, int], size: int, ink: Colour) -> None:
    x, y = centre
    cv2.rectangle(canvas, (x - size, y - size), (x + size, y + size), ink, 2, cv2.LINE_AA)
    _write(canvas, "?", (x - 10, y + 11), ink, 1.0, 2)


Sign = Callable[[Picture, tuple[int, int], int, Colour], None]
_SIGNS: Mapping[AlarmState, Sign] = {
    AlarmState.NOMINAL: _tick,
    AlarmState.CAUTION: _warning,
    AlarmState.ALARM: _stop,
    AlarmState.STALE: _question,
}


# The scores


def _scores(levels: Mapping[str, float]) -> Picture:
    rows = list(levels.items())[:MAX_ROWS]
    left_out = len(levels) - len(rows)
    canvas = _blank(ROW * (len(rows) + (left_out > 0)) + 2 * MARGIN, BACKGROUND)
    for number, (name, level) in enumerate(rows):
        _score(canvas[MARGIN + ROW * number :][:ROW], name, level)
    if left_out:
        place = (MARGIN, MARGIN + ROW * len(rows) + 17)
        _write(canvas, f"and {left_out} more", place, WHITE, LABEL)
    return canvas


def _score(row: Picture, name: str, level: float) -> None:
    left, right = 190, WIDTH - 120
    _write(row, name[:22], (MARGIN, 17), WHITE, LABEL)
    _write(row, ratio_text(level), (right + MARGIN, 17), WHITE, LABEL)
    cv2.rectangle(row, (left, 5), (right, ROW - 5), GREY, 1)
    if not np.isnan(level):
        end = left + round((right - left) * bar_share(level))
        cv2.rectangle(row, (left, 5), (end, ROW - 5), bar_colour(level), -1)
    threshold = left + round((right - left) / FULL_RATIO)
    cv2.line(row, (threshold, 1), (threshold, ROW - 2), WHITE, 2)
