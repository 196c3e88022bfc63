# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a rosbag2 bag (mcap, zstd) of serialised messages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from failure_monitor.incidents.folder import UNFINISHED
from failure_monitor.ros.recording.message_definitions import MessageDefinitions

VERSION: Literal[8] = 8
"""Version of the metadata: the newest that Humble reads as well."""

OfferedProfiles = Callable[[str, str], Sequence[Qos]]
"""Returns what the publishers of a topic and type have offered so far."""


class BagWriter:
    """A bag that is in its place only once it is complete."""

    def __init__(self, path: Path, offered: OfferedProfiles = lambda topic, kind: ()) -> None:
        """Open the bag for writing, in the folder `UNFINISHED` beside `path`.

        Args:
            path: The path of the complete bag.
            offered: Returns the quality of service with which a topic is to be played.

        Raises:
            OSError: The folder is not writable.
        """
        self.path = path
        """The path of the complete bag."""
        # The files are named after the folder of the bag, so that only the folder above may
        # differ.
        self.partial = path.parent / UNFINISHED / path.name
        """The path of the incomplete bag."""
        self._offered = offered
        self._definitions = MessageDefinitions()
        self._writer = Writer(self.partial, version=VERSION, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections: dict[tuple[str, str], Connection] = {}

    def write(self, topic: str, message_type: str, nanoseconds: int, message: bytes) -> None:
        """Append a serialised message with its time of reception.

        Raises:
            UsageError: The definition of its type is not installed.
            OSError: The disk is full or fails.
        """
        key = (topic, message_type)
        if key not in self._connections:
            self._definitions.register(message_type)
            self._connections[key] = self._writer.add_connection(
                topic,
                message_type,
                typestore=self._definitions.types,
                offered_qos_profiles=self._offered(topic, message_type),
            )
        self._writer.write(self._connections[key], nanoseconds, message)

    def close(self, custom_data: Mapping[str, str] | None = None) -> None:
        """Complete the bag and move it to its place.

        Args:
            custom_data: Statements about the bag for its metadata.

        Raises:
            OSError: The disk is full or fails.
        """
        for key, value in (custom_data or {}).items():
            self._writer.set_custom_data(key, value)
        self._add_later_offers()
        self._writer.close()
        self.partial.rename(self.path)
        self._remove_empty_folder()

    def _add_later_offers(self) -> None:
        """Have the metadata include publishers that came after the first message."""
        for (topic, message_type), connection in self._connections.items():
            assert isinstance(connection.ext, ConnectionExtRosbag2)
            connection.ext.offered_qos_profiles[:] = self._offered(topic, message_type)

    def abandon(self) -> None:
        """Remove the incomplete bag."""
        with suppress(OSError):
            self._writer.abort()
        shutil.rmtree(self.partial, ignore_errors=True)
        self._remove_empty_folder()

    def _remove_empty_folder(self) -> None:
        with suppress(OSError):  # It may hold another incomplete bag.
            self.partial.parent.rmdir()
