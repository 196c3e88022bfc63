# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Messages out of the bytes that a bag holds, of ROS 2 (CDR) and of ROS 1.

A topic's messages are all laid out alike, as a rule: what stands before their floats is the same
but for the stamp. So it is decoded once, and from then on compared, which takes a tenth of the
time. Whatever differs is decoded anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

STAMP_BEGIN, STAMP_END = 4, 12
"""In CDR behind four bytes that tell the encoding, in ROS 1 behind the sequence number."""
LITTLE_ENDIAN = 1
"""The second byte of CDR, where it is."""
ROS1_STAMP, ROS2_STAMP = struct.Struct("<II"), struct.Struct("<iI")

Take = Callable[[int, bytes], None]
"""Takes a message: the bag time in nanoseconds, and the bytes."""

MOST_LAYOUTS = 4
"""How many are remembered of a topic; several nodes may publish there."""


class WireError(Exception):
    """Bytes that are no message of their type."""


class Wire:
    """How a bag's messages are serialised.

    Attributes:
        stamp: of a header, seconds and nanoseconds.
    """

    def __init__(self, *, ros1: bool) -> None:
        """As ROS 1 does, or as ROS 2."""
        self.stamp = ROS1_STAMP if ros1 else ROS2_STAMP
        self._ros1 = ros1
        self._types = _types(ros1)
        self._decode = self._types.deserialize_ros1 if ros1 else self._types.deserialize_cdr

    def message(self, serialised: bytes, message_type: str) -> Any:
        """The message.

        Raises:
            WireError: the bytes are none of this type.
        """
        try:
            # A view, so that arrays in the message are views on the same bytes.
            return self._decode(memoryview(serialised), message_type)
        except Exception as error:  # damaged bytes fail in any of the decoder's steps
            raise WireError(f"the bytes are no {message_type} ({error})") from None

    def stamp_of(self, serialised: bytes, message_type: str) -> int:
        """The stamp, in nanoseconds, of a message with a header.

        Raises:
            WireError: the bytes are none of this type.
        """
        if len(serialised) >= STAMP_END and (self._ros1 or serialised[1] == LITTLE_ENDIAN):
            seconds, nanoseconds = self.stamp.unpack_from(serialised, STAMP_BEGIN)
            return int(seconds * 1_000_000_000 + nanoseconds)
        stamp = self.message(serialised, message_type).header.stamp
        return int(stamp.sec * 1_000_000_000 + stamp.nanosec)


@cache
def _types(ros1: bool) -> Any:
    # The messages needed have been the same in all versions.
    return get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)


Floats = NDArray[Any]
Pick = Callable[[Any], tuple[Floats | None, Any]]
"""Takes out of a message its floats, or None if it holds none of interest, and what else tells
how to read those of the same layout."""


class Layout(NamedTuple):
    """Where a message has its floats, and what stands before them behind its stamp."""

    length: int
    begin: int
    before: bytes
    shape: tuple[int, ...]
    size: int
    dtype: np.dtype[Any]
    meaning: Any


class StampedFloats:
    """Takes the stamp and the floats out of a topic's messages."""

    def __init__(self, wire: Wire, message_type: str, pick: Pick) -> None:
        """Nothing is known of the layout yet.

        Args:
            wire: how the messages are serialised.
            message_type: it has a header.
            pick: checks a message and takes out what matters.
        """
        self._wire = wire
        self._message_type = message_type
        self._pick = pick
        self._layouts: list[Layout] = []

    def read(self, serialised: bytes) -> tuple[int, Any, Any]:
        """A message's stamp in nanoseconds, its floats as a view, and what `pick` says of them.

        Raises:
            WireError: the bytes are no message of the type.
            Exception: any that `pick` raises.
        """
        for length, begin, before, shape, size, dtype, meaning in self._layouts:
            if len(serialised) == length and serialised[STAMP_END:begin] == before:
                seconds, nanoseconds = self._wire.stamp.unpack_from(serialised, STAMP_BEGIN)
                floats = np.frombuffer(serialised, dtype, size, begin).reshape(shape)
                return seconds * 1_000_000_000 + nanoseconds, floats, meaning
        return self._decode(serialised)

    def _decode(self, serialised: bytes) -> tuple[int, Any, Any]:
        message = self._wire.message(serialised, self._message_type)
        floats, meaning = self._pick(message)
        if floats is not None and floats.size and len(self._layouts) < MOST_LAYOUTS:
            self._remember(serialised, floats, meaning)
        stamp = message.header.stamp
        return stamp.sec * 1_000_000_000 + stamp.nanosec, floats, meaning

    def _remember(self, serialised: bytes, floats: Floats, meaning: Any) -> None:
        begin = _address(floats) - _address(np.frombuffer(serialised, np.uint8))
        inside = STAMP_END <= begin <= len(serialised) - floats.nbytes
        if inside and floats.flags.c_contiguous:  # else it is a copy
            self._layouts.append(
                Layout(
                    length=len(serialised),
                    begin=begin,
                    before=serialised[STAMP_END:begin],
                    shape=floats.shape,
                    size=floats.size,
                    dtype=floats.dtype,
                    meaning=meaning,
                )
            )


def _address(array: Floats) -> int:
    return int(array.__array_interface__["data"][0])
