# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes the joint states of a bag, which may come 500 times a second.

Those of one publisher share a layout: all bytes are equal but for the stamp and the numbers. Its
first message is decoded; later ones are only compared, and their numbers viewed where they lie.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from failure_monitor.messages.measured_positions import JOINT_STATE_TYPE
from failure_monitor.sources.message_decoder import (
    MAX_LAYOUTS,
    STAMP_BEGIN,
    STAMP_END,
    MessageDecoder,
)

Floats = NDArray[np.float64]


class DecodedJoints(NamedTuple):
    """The content of a joint state; the stamp is in nanoseconds."""

    stamp: int
    names: list[str]
    positions: Floats
    velocities: Floats
    efforts: Floats


class _Layout(NamedTuple):
    """Where the numbers lie, and the bytes before, between and behind them."""

    length: int
    dtype: np.dtype[Any]
    numbers: tuple[tuple[int, int], ...]
    """The first byte and the count of positions, velocities and efforts, where there are any."""
    gaps: tuple[tuple[int, int, bytes], ...]
    names: list[str]


class JointStateDecoder:
    """Decodes the messages of one topic."""

    def __init__(self, decoder: MessageDecoder) -> None:
        """Start with no known layout.

        Args:
            decoder: Decodes whole messages.
        """
        self._decoder = decoder
        self._layouts: list[_Layout] = []

    def decode(self, serialised: bytes) -> DecodedJoints:
        """Return the content of a message.

        Raises:
            UndecodableError: The bytes are no joint state.
        """
        for length, dtype, numbers, gaps, names in self._layouts:
            if len(serialised) != length:
                continue
            for begin, end, between in gaps:
                if serialised[begin:end] != between:
                    break
            else:
                seconds, rest = self._decoder.stamp_format.unpack_from(serialised, STAMP_BEGIN)
                views = [np.frombuffer(serialised, dtype, count, at) for at, count in numbers]
                return DecodedJoints(seconds * 1_000_000_000 + rest, names, *views)
        return self._decode_whole(serialised)

    def _decode_whole(self, serialised: bytes) -> DecodedJoints:
        message = self._decoder.decode(serialised, JOINT_STATE_TYPE)
        numbers = (message.position, message.velocity, message.effort)
        names = list(message.name)
        if len(self._layouts) < MAX_LAYOUTS:
            self._remember(serialised, names, numbers)
        stamp = message.header.stamp
        return DecodedJoints(stamp.sec * 1_000_000_000 + stamp.nanosec, names, *numbers)

    def _remember(self, serialised: bytes, names: list[str], numbers: tuple[Floats, ...]) -> None:
        length, start = len(serialised), _address(np.frombuffer(serialised, np.uint8))
        places, gaps, end = [], [], STAMP_END
        for values in numbers:
            begin = _address(values) - start if values.size else end
            if not (end <= begin <= length - values.nbytes and values.flags.c_contiguous):
                return  # a copy
            places.append((begin, values.size))
            gaps.append((end, begin, serialised[end:begin]))
            end = begin + values.nbytes
        gaps.append((end, length, serialised[end:]))
        dtype = numbers[0].dtype
        if all(values.dtype == dtype for values in numbers):
            self._layouts.append(_Layout(length, dtype, tuple(places), tuple(gaps), names))


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
