# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a rosbag2 bag (mcap, zstd) of serialised messages."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from failure_monitor.incidents.folder import UNFINISHED
from failure_monitor.ros.recording.message_definitions import MessageDefinitions


class BagWriter:
    """A bag that is in its place only once it is complete."""

    def __init__(self, path: Path) -> None:
        """Open the bag for writing, in the folder `UNFINISHED` beside `path`.

        Raises:
            OSError: The folder is not writable.
        """
        self.path = path
        """The path of the complete bag."""
        # The files are named after the folder of the bag, so that only the folder above may differ.
        self.partial = path.parent / UNFINISHED / path.name
        """The path of the incomplete bag."""
        self._definitions = MessageDefinitions()
        self._writer = Writer(self.partial, version=9, storage_plugin=StoragePlugin.MCAP)
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
                topic, message_type, typestore=self._definitions.types
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
        self._writer.close()
        self.partial.rename(self.path)
        self._remove_empty_folder()

    def abandon(self) -> None:
        """Remove the incomplete bag."""
        with suppress(OSError):
            self._writer.abort()
        shutil.rmtree(self.partial, ignore_errors=True)
        self._remove_empty_folder()

    def _remove_empty_folder(self) -> None:
        with suppress(OSError):  # It may hold another incomplete bag.
            self.partial.parent.rmdir()
