# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the bags of ROS 1."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from rosbags.rosbag1 import Reader

from failure_monitor.sources.storage import ROS1, Channel, Stored

_PLACES_PER_CHUNK = 1 << 40


class Ros1File:
    """An open bag of ROS 1.

    Attributes:
        channels: Its channels.
        begin: The bag time of the first message in nanoseconds; 0 if there is none.
        end: The bag time of the last message.
    """

    def __init__(self, path: Path) -> None:
        """Open the bag.

        Raises:
            Exception: Any that rosbags has for a damaged file.
        """
        self._reader = Reader(path)
        self._reader.open()
        self.channels: Sequence[Channel] = [
            Channel(c.id, c.topic, c.msgtype, ROS1, c.msgcount) for c in self._reader.connections
        ]
        is_empty = not any(channel.messages for channel in self.channels)
        self.begin = 0 if is_empty else self._reader.start_time
        self.end = 0 if is_empty else self._reader.end_time - 1

    def __enter__(self) -> Ros1File:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def messages(self, channels: Collection[int]) -> Iterator[Stored]:
        """Yield the messages of some channels by bag time.

        Raises:
            Exception: Any that rosbags has for a damaged file.
        """
        connections = [c for c in self._reader.connections if c.id in channels]
        if not connections:
            return
        # The index of a channel is sorted by bag time, as its messages come.
        places = {c.id: iter(self._reader.indexes[c.id]) for c in connections}
        numbers = {chunk: number for number, chunk in enumerate(sorted(self._reader.chunks))}
        for connection, received, data in self._reader.messages(connections):
            place = next(places[connection.id])
            number = numbers[place.chunk_pos] * _PLACES_PER_CHUNK + place.offset
            yield Stored(received, number, connection.id, data)
