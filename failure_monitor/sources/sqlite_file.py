# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the SQLite files of rosbag2, of every version of their tables."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from failure_monitor.sources.storage import (
    CDR,
    Channel,
    DamagedBagError,
    Stored,
    UnsupportedBagError,
    full_type_name,
)

TABLES = {"messages": ("topic_id", "timestamp", "data"), "topics": ("id", "name", "type")}
"""The tables, and the columns that every version has."""


class SqliteFile:
    """An open SQLite file of rosbag2.

    Attributes:
        channels: Its channels.
        begin: The bag time of the first message in nanoseconds; 0 if there is none.
        end: The bag time of the last message.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and count its messages.

        Raises:
            DamagedBagError: It is damaged.
            UnsupportedBagError: It is no file of rosbag2.
        """
        self.channels: Sequence[Channel] = ()
        self.begin = self.end = 0
        self._name = path.name
        # Nobody else writes, so that no file is made beside it, and nothing is locked.
        address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        self._database = sqlite3.connect(address, uri=True)
        self._database.text_factory = lambda text: text.decode("utf-8", "replace")
        try:
            self._open()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> SqliteFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def messages(self, channels: Collection[int]) -> Iterator[Stored]:
        """Yield the messages of some channels by bag time.

        Raises:
            DamagedBagError: A row is no message.
        """
        marks = ", ".join("?" * len(channels))
        # A view has no row numbers.
        number = "rowid" if self._has("messages", "rowid") else "0"
        rows = self._database.execute(
            f"SELECT timestamp, {number}, topic_id, data FROM messages "
            f"WHERE topic_id IN ({marks}) "
            f"ORDER BY timestamp, {number}",
            list(channels),
        )
        for row in rows:
            stored = Stored(*row)
            if type(stored.data) is not bytes or type(stored.received) is not int:
                raise DamagedBagError(f"{self._name}: a row of the table 'messages' is no message")
            yield stored

    def _open(self) -> None:
        for table, columns in TABLES.items():
            missing = [column for column in columns if not self._has(table, column)]
            if missing:
                raise UnsupportedBagError(
                    f"{self._name} is a SQLite file, but none of rosbag2: the column "
                    f"'{missing[0]}' of the table '{table}' is missing; leave it out"
                )
        counts: Counter[int] = Counter()
        times: list[int] = []
        for topic, count, first, last in self._database.execute(
            "SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages "
            "GROUP BY topic_id"
        ):
            counts[topic] = count
            times += [first, last]
        if times:
            if not all(type(time) is int for time in times):
                raise DamagedBagError(f"{self._name}: the bag time of a message is no number")
            self.begin, self.end = min(times), max(times)
        self.channels = [self._channel(row, counts) for row in self._topics()]

    def _topics(self) -> Iterator[Sequence[Any]]:
        encoding = "serialization_format" if self._has("topics", "serialization_format") else "''"
        return iter(self._database.execute(f"SELECT id, name, type, {encoding} FROM topics"))

    def _channel(self, row: Sequence[Any], counts: Counter[int]) -> Channel:
        number, topic, message_type, encoding = row
        if not isinstance(number, int) or not all(isinstance(text, str) for text in row[1:]):
            raise DamagedBagError(f"{self._name}: a row of the table 'topics' is no topic")
        return Channel(
            number, topic, full_type_name(message_type), encoding or CDR, counts[number]
        )

    def _has(self, table: str, column: str) -> bool:
        try:
            self._database.execute(f"SELECT {column} FROM {table} LIMIT 0")
        except sqlite3.OperationalError as error:
            if "no such" in str(error):
                return False
            raise
        return True
