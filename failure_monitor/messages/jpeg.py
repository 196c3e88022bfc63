# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG pictures: where one ends, and whether it is sound.

libjpeg makes a picture of any data: it guesses on where they are damaged, fills with grey what is
missing, and prints that it did so. OpenCV passes nothing of this on, so what is printed is read.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from failure_monitor.messages.printed_warnings import with_warnings

JPEG_BEGIN = b"\xff\xd8\xff"
MAX_FILLING = 16
"""Largest number of zeros before a picture's end marker: cameras fill up their data with some."""

_SEGMENT = struct.Struct(">BBH")
_SIZE = struct.Struct(">BHH")
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that state the size."""
_SCAN, _END, _FILL = 0xDA, 0xD9, 0xFF
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The first marker that is no part of a scan's data."""

_DAMAGE = re.compile(
    rb"(?:Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Unsupported marker)"
    rb"[^\n]*\n"
)
_FILLED = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")


@dataclass(frozen=True)
class JpegExtent:
    """What the markers of a JPEG state.

    Attributes:
        height: the height in pixels.
        width: the width in pixels.
        end: where the picture ends; other bytes may follow.
    """

    height: int
    width: int
    end: int


def jpeg_extent(data: bytes) -> JpegExtent | None:
    """Return what the markers of a JPEG state; None if one is missing or malformed."""
    size: tuple[int, int] | None = None
    at = len(JPEG_BEGIN) - 1
    while at + 2 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == _END:
            return None if size is None else JpegExtent(*size, at + 2)
        if marker == _FILL:
            # Any number of 0xFF may stand before a marker.
            at += 1
            continue
        if at + _SEGMENT.size > len(data):
            return None
        _, _, length = _SEGMENT.unpack_from(data, at)
        inside = at + _SEGMENT.size
        at += 2 + length
        if at > len(data):
            return None
        if size is None and marker in _FRAMES and length >= 2 + _SIZE.size:
            _, *size_stated = _SIZE.unpack_from(data, inside)
            size = size_stated[0], size_stated[1]
        if marker == _SCAN:
            following = _AFTER_SCAN.search(data, at)
            if following is None:
                return None
            at = following.start()
    return None


def decode_picture(data: bytes) -> NDArray[np.uint8] | None:
    """Return what OpenCV makes of a picture, BGR (height, width, 3); None if that is nothing."""
    try:
        pixels: NDArray[np.uint8] | None = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:
        return None
    return pixels


def decode_jpeg(data: bytes) -> tuple[NDArray[np.uint8] | None, str]:
    """Return a JPEG's pixels, BGR (height, width, 3), or None; and what is damaged, if known.

    Args:
        data: the picture, up to its end.
    """
    pixels, damage = _decode(data)
    if not damage or _is_filling(damage, data):
        return pixels, ""
    # Without its first words: whoever logs this meanwhile must not be taken for libjpeg.
    return None, damage.removeprefix("Corrupt JPEG data: ").lower()


@cache
def damage_is_told() -> bool:
    """Return whether the installed OpenCV lets libjpeg say what is damaged."""
    noise = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    encoded = cv2.imencode(".jpg", noise)[1].tobytes()
    return bool(_decode(encoded[:-200] + encoded[-2:])[1])


def _decode(data: bytes) -> tuple[NDArray[np.uint8] | None, str]:
    pixels, warnings = with_warnings(lambda: decode_picture(data), _DAMAGE)
    return pixels, warnings[0] if warnings else ""


def _is_filling(damage: str, data: bytes) -> bool:
    """Return whether what libjpeg did not need are zeros before the end marker alone."""
    found = _FILLED.fullmatch(damage)
    if found is None or int(found[1]) > MAX_FILLING:
        return False
    filling = data[:-2].rstrip(b"\xff")[-int(found[1]) :]
    return not any(filling)
