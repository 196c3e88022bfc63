# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes one rosbag2 bag (mcap, zstd) of serialised messages."""

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
    """A bag that appears under its name only once it is complete."""

    def __init__(self, path: Path) -> None:
        """Open the bag for writing, in the folder `UNFINISHED` beside `path`.

        Raises:
            OSError: nothing can be written there.
        """
        self.path = path
        """Where the bag will be."""
        # The bag's files are named after its folder, so that only the folder above may differ.
        self.partial = path.parent / UNFINISHED / path.name
        """Where it is until it is complete."""
        self._definitions = MessageDefinitions()
        self._writer = Writer(self.partial, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections: dict[tuple[str, str], Connection] = {}

    def write(self, topic: str, message_type: str, nanoseconds: int, message: bytes) -> None:
        """Append a serialised message with its time of reception.

        Raises:
            UsageError: the definition of its type is not installed here.
            OSError: the disk is full, or fails.
        """
        key = (topic, message_type)
        if key not in self._connections:
            self._definitions.learn(message_type)
            self._connections[key] = self._writer.add_connection(
                topic, message_type, typestore=self._definitions.types
            )
        self._writer.write(self._connections[key], nanoseconds, message)

    def close(self, said: Mapping[str, str] | None = None) -> None:
        """Finish the bag and give it its name.

        Args:
            said: of the bag, by name; stands in its metadata.

        Raises:
            OSError: the disk is full, or fails.
        """
        for key, value in (said or {}).items():
            self._writer.set_custom_data(key, value)
        self._writer.close()
        self.partial.rename(self.path)
        self._leave()

    def abandon(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._writer.abort()
        shutil.rmtree(self.partial, ignore_errors=True)
        self._leave()

    def _leave(self) -> None:
        with suppress(OSError):  # Another bag may be unfinished.
            self.partial.parent.rmdir()
