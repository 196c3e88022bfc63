# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes the messages of a bag, as ROS 2 (CDR) and ROS 1 serialise them.

The messages of one topic usually share a layout: all bytes before their floats are equal but for
the stamp. The first message is decoded and its layout remembered; later ones are only compared,
which takes a tenth of the time. A message of another layout is decoded again.
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
"""Where the stamp lies: behind the four bytes of CDR's encoding, or ROS 1's sequence number."""
LITTLE_ENDIAN = 1
"""The second byte of CDR that is little-endian."""
ROS1_STAMP, ROS2_STAMP = struct.Struct("<II"), struct.Struct("<iI")

MAX_LAYOUTS = 4
"""Layouts that are remembered of a topic, on which several nodes may publish."""

MessageHandler = Callable[[int, bytes], None]
"""Handles a message, given its bag time in nanoseconds and its bytes."""

Floats = NDArray[Any]
Extract = Callable[[Any], tuple[Floats | None, Any]]
"""Returns the floats of a message, or None if it has none of interest, and whatever else is needed
to read the floats of messages of the same layout."""


class UndecodableError(Exception):
    """Bytes that are no message of the expected type."""


class MessageFaultError(Exception):
    """A message that is wrong, found when another one was read.

    Attributes:
        topic: Its topic.
        message: Its number on the topic.
        error: What is wrong: a FailureMonitorError or an UndecodableError.
    """

    def __init__(self, topic: str, message: int, error: Exception) -> None:
        super().__init__(f"{topic}, message {message}: {error}")
        self.topic, self.message, self.error = topic, message, error


class MessageDecoder:
    """Decodes messages of any type.

    Attributes:
        stamp_format: How the seconds and nanoseconds of a header are serialised.
    """

    def __init__(self, *, ros1: bool) -> None:
        """Decode what ROS 1 serialised, or else ROS 2."""
        self.stamp_format = ROS1_STAMP if ros1 else ROS2_STAMP
        self._ros1 = ros1
        self._types = _types(ros1)
        self._deserialise = self._types.deserialize_ros1 if ros1 else self._types.deserialize_cdr

    def decode(self, serialised: bytes, message_type: str) -> Any:
        """Return the message.

        Raises:
            UndecodableError: The bytes are no message of this type.
        """
        try:
            # A view, so that arrays in the message are views on the same bytes.
            return self._deserialise(memoryview(serialised), message_type)
        except Exception as error:  # damaged bytes fail in any of the decoder's steps
            raise UndecodableError(f"the bytes are no {message_type} ({error})") from None

    def decode_stamp(self, serialised: bytes, message_type: str) -> int:
        """Return the stamp, in nanoseconds, of a message with a header.

        Raises:
            UndecodableError: The bytes are no message of this type.
        """
        if len(serialised) >= STAMP_END and (self._ros1 or serialised[1] == LITTLE_ENDIAN):
            seconds, nanoseconds = self.stamp_format.unpack_from(serialised, STAMP_BEGIN)
            return int(seconds * 1_000_000_000 + nanoseconds)
        stamp = self.decode(serialised, message_type).header.stamp
        return int(stamp.sec * 1_000_000_000 + stamp.nanosec)


@cache
def _types(ros1: bool) -> Any:
    # The definitions of the messages that are read are the same in all versions of ROS.
    return get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)


class FieldLayout(NamedTuple):
    """Where the floats of a message lie, and the bytes between its stamp and them."""

    length: int
    begin: int
    before: bytes
    shape: tuple[int, ...]
    size: int
    dtype: np.dtype[Any]
    meaning: Any


class StampedFloatsDecoder:
    """Decodes the stamp and the floats of a topic's messages."""

    def __init__(self, decoder: MessageDecoder, message_type: str, extract: Extract) -> None:
        """Start with no known layout.

        Args:
            decoder: Decodes whole messages.
            message_type: A type with a header.
            extract: Checks a message and returns what is of interest.
        """
        self._decoder = decoder
        self._message_type = message_type
        self._extract = extract
        self._layouts: list[FieldLayout] = []

    def decode(self, serialised: bytes) -> tuple[int, Any, Any]:
        """Return a message's stamp in nanoseconds, its floats as a view, and their meaning.

        Raises:
            UndecodableError: The bytes are no message of the type.
            Exception: Any that `extract` raises.
        """
        for length, begin, before, shape, size, dtype, meaning in self._layouts:
            if len(serialised) == length and serialised[STAMP_END:begin] == before:
                stamp_format = self._decoder.stamp_format
                seconds, nanoseconds = stamp_format.unpack_from(serialised, STAMP_BEGIN)
                floats = np.frombuffer(serialised, dtype, size, begin).reshape(shape)
                return seconds * 1_000_000_000 + nanoseconds, floats, meaning
        return self._decode_whole(serialised)

    def _decode_whole(self, serialised: bytes) -> tuple[int, Any, Any]:
        message = self._decoder.decode(serialised, self._message_type)
        floats, meaning = self._extract(message)
        if floats is not None and floats.size and len(self._layouts) < MAX_LAYOUTS:
            self._remember_layout(serialised, floats, meaning)
        stamp = message.header.stamp
        return stamp.sec * 1_000_000_000 + stamp.nanosec, floats, meaning

    def _remember_layout(self, serialised: bytes, floats: Floats, meaning: Any) -> None:
        begin = _address(floats) - _address(np.frombuffer(serialised, np.uint8))
        inside = STAMP_END <= begin <= len(serialised) - floats.nbytes
        if inside and floats.flags.c_contiguous:  # else it is a copy
            self._layouts.append(
                FieldLayout(
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
