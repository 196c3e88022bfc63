# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the messages of any bag, one after the other.

A message is passed on as the bytes that were recorded. None is kept.
"""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources import lz4_frames, zstd
from failure_monitor.sources.bag_files import COMPRESSIONS, Bag, reject_truncated
from failure_monitor.sources.bag_metadata import METADATA_FILE, TopicCount
from failure_monitor.sources.mcap_file import McapFile
from failure_monitor.sources.message_decoder import (
    MessageFaultError,
    MessageHandler,
    UndecodableError,
)
from failure_monitor.sources.ros1_file import Ros1File
from failure_monitor.sources.set_back_clock import Reception
from failure_monitor.sources.source import Advance, SourceError
from failure_monitor.sources.sqlite_file import SqliteFile
from failure_monitor.sources.storage import Channel, DamagedBagError, StorageFile, Stored

MESSAGES_BETWEEN_ADVANCES = 256
MAX_EXPANSION = 100
"""Largest size of a decompressed file, in sizes of the compressed one, beyond `SMALL_FILE`."""
SMALL_FILE = 1 << 30
BLOCK = 1 << 20
PLACES_PER_FILE = 1 << 44
"""More than a file has, by bytes or rows."""
NO_CHANNEL = -1


@dataclass(frozen=True)
class BagSummary:
    """The topics and the duration of a bag.

    Attributes:
        topics: The topics, sorted by name.
        seconds: The seconds from the first message to the last.
    """

    topics: tuple[TopicCount, ...]
    seconds: float


@dataclass(frozen=True)
class _File:
    """A file of a bag, as it was found when it was opened first."""

    path: Path
    channels: Sequence[Channel]
    begin: int
    end: int


class OpenBag:
    """The messages of a bag."""

    def __init__(self, bag: Bag, stack: ExitStack) -> None:
        """Look into every file.

        Args:
            bag: The bag.
            stack: Closes what stays open.

        Raises:
            DamagedBagError: A file is damaged or cut off.
            SourceError: A file is stored in a way that is not read.
            Exception: Any that the readers have for a damaged file.
        """
        self._bag = bag
        self._only: StorageFile | None = None
        if len(bag.files) == 1:
            self._only = stack.enter_context(_opened(bag.files[0]))
            self._files = [_looked_at(bag.files[0], self._only)]
            return
        self._files = []
        for path in bag.files:
            with _opened(path) as storage:
                self._files.append(_looked_at(path, storage))
        if not bag.are_counted:
            self._files.sort(key=lambda file: file.begin)

    def summary(self) -> BagSummary:
        """Return the topics and the duration of the bag."""
        there = [
            TopicCount(channel.topic, channel.message_type, channel.messages, channel.encoding)
            for file in self._files
            for channel in file.channels
        ]
        names = {topic.name for topic in there}
        # A topic without messages may be in the metadata alone.
        there += [topic for topic in self._bag.topics or () if topic.name not in names]
        times = [(file.begin, file.end) for file in self._files if file.end]
        # Some recorders write the duration of the last file into the metadata.
        seconds = 1e-9 * (max(t for _, t in times) - min(t for t, _ in times)) if times else 0.0
        return BagSummary(tuple(sorted(_merged(there), key=lambda topic: topic.name)), seconds)

    def read(
        self, handlers: Mapping[str, MessageHandler], advance: Advance = lambda share: None
    ) -> None:
        """Pass every message of some topics to its handler, by bag time.

        Args:
            handlers: The handler of each topic.
            advance: Called with the share that has been read.

        Raises:
            DamagedBagError: Messages are missing.
            SourceError: The recorder's clock was set back.
            Exception: Any that the readers have for a damaged file, or that a handler raises.
        """
        reception: dict[str, Reception] = defaultdict(Reception)
        topics = [
            {c.number: c.topic for c in file.channels if c.topic in handlers}
            for file in self._files
        ]
        begin = min((file.begin for file in self._files), default=0)
        duration = max(1, max((file.end for file in self._files), default=0) - begin)
        until_advance = MESSAGES_BETWEEN_ADVANCES
        topic = ""
        # Nothing is done here for the sake of error messages: this loop limits the speed.
        try:
            for number, (received, place, channel, data) in self._messages(topics):
                topic = topics[number][channel]
                handlers[topic](received, data)
                reception[topic].add(received, place)
                until_advance -= 1
                if not until_advance:
                    until_advance = MESSAGES_BETWEEN_ADVANCES
                    advance((received - begin) / duration)
        except (FailureMonitorError, UndecodableError, MessageFaultError) as error:
            raise self._located(error, topic, len(reception[topic].received)) from None
        self._reject_missing(handlers, reception)
        self._reject_set_back_clock(reception)
        advance(1.0)

    def _messages(self, topics: Sequence[Mapping[int, str]]) -> Iterator[tuple[int, Stored]]:
        """Yield the number of its file and each message of some topics, by bag time.

        Args:
            topics: The topics of every file, by the numbers of their channels.
        """
        if self._only is not None:
            for stored in unpacked(self._only.messages(topics[0]), self._bag.packs_messages):
                yield 0, stored
            return
        parts = [self._part(number, wanted) for number, wanted in enumerate(topics) if wanted]
        for number, stored in heapq.merge(*parts, key=_time_and_place):
            if stored.channel != NO_CHANNEL:
                yield number, stored

    def _part(self, number: int, wanted: Mapping[int, str]) -> Iterator[tuple[int, Stored]]:
        """Yield when a file begins, then its messages; it is opened when it begins."""
        file = self._files[number]
        yield number, Stored(file.begin, 0, NO_CHANNEL, b"")
        with _opened(file.path) as storage:
            for received, place, channel, data in unpacked(
                storage.messages(wanted), self._bag.packs_messages
            ):
                yield number, Stored(received, number * PLACES_PER_FILE + place, channel, data)

    def _located(self, error: Exception, topic: str, message: int) -> Exception:
        """Return an error with the place of the message that is wrong."""
        if isinstance(error, MessageFaultError):
            topic, message, error = error.topic, error.message, error.error
        where = f"{self._bag.path}, {topic}, message {message}"
        if isinstance(error, FailureMonitorError):
            return type(error)(f"{where}: {error}")
        return SourceError(
            f"{where}: {error}: the bag is damaged; record it again or leave it out"
        )

    def _reject_missing(
        self, handlers: Mapping[str, MessageHandler], reception: Mapping[str, Reception]
    ) -> None:
        found = Counter({topic: len(seen.received) for topic, seen in reception.items()})
        indexed = [
            TopicCount(channel.topic, "", channel.messages)
            for file in self._files
            for channel in file.channels
        ]
        for source, topics in ((METADATA_FILE, self._bag.topics or ()), ("its index", indexed)):
            expected: Counter[str] = Counter()
            for topic in topics:
                expected[topic.name] += topic.messages
            for name, messages in expected.items():
                if name in handlers and found[name] != messages:
                    raise DamagedBagError(
                        f"{source} counts {messages} messages on {name}, the storage holds "
                        f"{found[name]}"
                    )

    def _reject_set_back_clock(self, reception: Mapping[str, Reception]) -> None:
        for topic, seen in reception.items():
            set_back = seen.set_back()
            if set_back is not None:
                raise SourceError(
                    f"{self._bag.path}, {topic}, message {set_back.message}: bag time goes back "
                    f"by {set_back.seconds:.2f} s, so the recorder's clock was set back, or the "
                    "file was not written in order: leave the bag out; if you know that no clock "
                    f"was set back, put it in order first, {_how_to_order(self._bag)}"
                )


@contextmanager
def open_bag(bag: Bag) -> Iterator[OpenBag]:
    """Open a bag, as a context.

    Raises:
        DamagedBagError: A file is damaged or cut off.
        SourceError: A file is stored in a way that is not read.
        Exception: Any that the readers have for a damaged file.
    """
    with ExitStack() as stack:
        yield OpenBag(bag, stack)


def unpacked(messages: Iterator[Stored], are_packed: bool | None) -> Iterator[Stored]:
    """Yield messages that may be compressed, each by itself; unless stated, the first tells."""
    unpack = None
    for stored in messages:
        if unpack is None:
            magic = bytes(stored.data[:4]) if are_packed is not False else b""
            unpack = UNPACKERS.get(magic, _unchanged)
        yield stored if unpack is _unchanged else stored._replace(data=unpack(stored.data))


def open_storage(path: Path, *, is_cut_off: bool = False) -> StorageFile:
    """Open a file that is not compressed.

    Args:
        path: The file.
        is_cut_off: True to take what is complete in an mcap file that was cut off.
    """
    if path.suffix == ".bag":
        return Ros1File(path)
    if path.suffix == ".db3":
        return SqliteFile(path)
    return McapFile(path, is_cut_off=is_cut_off)


def _unchanged(data: bytes) -> bytes:
    return data


UNPACKERS = {zstd.MAGIC: zstd.decompress, lz4_frames.MAGIC: lz4_frames.decompress}
"""What decompresses a message, by its first bytes."""


def _looked_at(path: Path, storage: StorageFile) -> _File:
    return _File(path, storage.channels, storage.begin, storage.end)


def _time_and_place(message: tuple[int, Stored]) -> tuple[int, int, int]:
    number, stored = message
    return stored.received, number, stored.place


def _how_to_order(bag: Bag) -> str:
    if bag.files[0].suffix == ".mcap":
        return "with 'mcap sort'"
    return "by playing and recording it again" if is_ros1(bag) else "with 'ros2 bag convert'"


def is_ros1(bag: Bag) -> bool:
    """Return whether a bag is a file of ROS 1."""
    return all(file.suffix == ".bag" for file in bag.files)


def _merged(topics: Sequence[TopicCount]) -> Iterator[TopicCount]:
    """Yield one count for each topic and type, on which several nodes may have published."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for topic in topics:
        counts[topic.name, topic.message_type, topic.encoding] += topic.messages
    for (name, message_type, encoding), messages in counts.items():
        yield TopicCount(name, message_type, messages, encoding)


@contextmanager
def _opened(path: Path) -> Iterator[StorageFile]:
    with _uncompressed(path) as readable:
        reject_truncated(readable)
        with open_storage(readable) as storage:
            yield storage


@contextmanager
def _uncompressed(path: Path) -> Iterator[Path]:
    """Yield the file, or a temporary decompressed copy of it."""
    if path.suffix not in COMPRESSIONS:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.with_suffix("").name
        _unpack(path, copy)
        yield copy


def _unpack(file: Path, to: Path) -> None:
    maximum = SMALL_FILE + MAX_EXPANSION * file.stat().st_size
    with _open_compressed(file) as packed, to.open("wb") as copy:
        while block := packed.read(BLOCK):
            try:
                copy.write(block)
            except OSError as error:
                raise SourceError(
                    f"{file} cannot be unpacked to {to.parent}: {error.strerror}: set TMPDIR to a "
                    "folder with more space"
                ) from None
            if copy.tell() > maximum:
                raise SourceError(
                    f"{file} unpacks to more than {maximum} bytes: if that is right, unpack it "
                    f"yourself with '{COMPRESSIONS[file.suffix]} -d', and remove the compression "
                    "from its metadata.yaml"
                )


def _open_compressed(file: Path) -> BinaryIO:
    if COMPRESSIONS[file.suffix] == "lz4":
        return lz4_frames.open_compressed(file)
    return zstd.open_compressed(file)
