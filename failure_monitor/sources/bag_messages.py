# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the messages of any bag, one after the other.

A message is passed on as the bytes that were recorded. None is kept.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources import zstd
from failure_monitor.sources.bag_files import Bag, DamagedBagError, reject_truncated
from failure_monitor.sources.bag_metadata import METADATA_FILE, TopicCount
from failure_monitor.sources.message_decoder import MessageHandler, UndecodableError
from failure_monitor.sources.source import Advance, SourceError
from failure_monitor.sources.truncated_mcap import TruncatedMcap

Reader: TypeAlias = "Ros1Reader | Ros2Reader"

MESSAGES_BETWEEN_ADVANCES = 256
MAX_EXPANSION = 100
"""Maximum size of a decompressed file, in sizes of the compressed one beyond `SMALL_FILE` bytes."""
SMALL_FILE = 1 << 30
BLOCK = 1 << 20
NOT_IN_SQLITE_PATHS = "?#%"
"""Characters that rosbags does not escape in the URI of a database."""


def is_ros1(bag: Bag) -> bool:
    """Return whether the messages of a bag are serialised by ROS 1."""
    return all(file.suffix == ".bag" for file in bag.files)


@dataclass(frozen=True)
class BagSummary:
    """The topics and the duration of a bag.

    Attributes:
        topics: The topics, sorted by name.
        seconds: The seconds from the first message to the last.
    """

    topics: tuple[TopicCount, ...]
    seconds: float


def summary(bag: Bag) -> BagSummary:
    """Return the topics and the duration of a bag, without reading its messages.

    Raises:
        DamagedBagError: A file is truncated.
        Exception: Any that rosbags has for a damaged file.
    """
    topics, seconds = bag.topics, bag.seconds
    if topics is None or seconds is None:
        with _open_file(bag, bag.files[0]) as reader:
            seconds = 1e-9 * reader.duration
            topics = tuple(
                TopicCount(connection.topic, connection.msgtype, connection.msgcount)
                for connection in reader.connections
            )
    return BagSummary(tuple(sorted(_merged(topics), key=lambda topic: topic.name)), seconds)


def read_messages(
    bag: Bag, handlers: Mapping[str, MessageHandler], advance: Advance = lambda share: None
) -> None:
    """Pass every message of some topics to its handler, file after file, by bag time.

    Args:
        bag: The bag to read.
        handlers: The handler of each topic.
        advance: Called with the share that has been read.

    Raises:
        DamagedBagError: A file is truncated, or messages are missing.
        Exception: Any that rosbags has for a damaged file, or that a handler raises.
    """
    found: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    sizes = [file.stat().st_size for file in bag.files]
    for index, file in enumerate(bag.files):
        begin, share = sum(sizes[:index]) / max(1, sum(sizes)), sizes[index] / max(1, sum(sizes))
        with _open_file(bag, file) as reader:
            connections = [c for c in reader.connections if c.topic in handlers]
            for connection in connections:
                expected[connection.topic] += connection.msgcount
            if connections:
                _read_file(bag, reader, connections, handlers, found, _part(advance, begin, share))
    if bag.topics is not None:
        _reject_missing(METADATA_FILE, bag.topics, handlers, found)
    _reject_missing(
        "its index", [TopicCount(t, "", n) for t, n in expected.items()], handlers, found
    )
    advance(1.0)


def read_messages_from(reader: Reader, handlers: Mapping[str, MessageHandler]) -> None:
    """Pass every message of some topics of an open file to its handler, without any check."""
    connections = [c for c in reader.connections if c.topic in handlers]
    if connections:
        for connection, received, serialised in reader.messages(connections):
            handlers[connection.topic](received, serialised)


def _read_file(
    bag: Bag,
    reader: Reader,
    connections: Sequence[Connection],
    handlers: Mapping[str, MessageHandler],
    found: Counter[str],
    advance: Advance,
) -> None:
    """Pass messages to their handlers, and count those of each topic in `found`."""
    unpack = _unpacking if _are_packed(bag, reader, connections) else _unchanged
    handle = {connection.id: unpack(handlers[connection.topic]) for connection in connections}
    counts = dict.fromkeys(handle, 0)
    begin, duration = reader.start_time, max(1, reader.duration)
    until_advance = MESSAGES_BETWEEN_ADVANCES
    number = connections[0].id
    # Nothing is done here for the sake of error messages: this loop limits the speed of reading.
    try:
        for connection, received, serialised in reader.messages(connections):
            number = connection.id
            handle[number](received, serialised)
            counts[number] += 1
            until_advance -= 1
            if not until_advance:
                until_advance = MESSAGES_BETWEEN_ADVANCES
                advance((received - begin) / duration)
    except (FailureMonitorError, UndecodableError) as error:
        topic = next(connection.topic for connection in connections if connection.id == number)
        where = f"{bag.path}, {topic}, message {found[topic] + counts[number]}"
        if isinstance(error, FailureMonitorError):
            raise type(error)(f"{where}: {error}") from None
        raise SourceError(
            f"{where}: {error}: the bag is damaged; record it again or leave it out"
        ) from None
    for connection in connections:
        found[connection.topic] += counts[connection.id]


def _unchanged(handler: MessageHandler) -> MessageHandler:
    return handler


def _unpacking(handler: MessageHandler) -> MessageHandler:
    return lambda received, packed: handler(received, zstd.decompress(packed))


def _are_packed(bag: Bag, reader: Reader, connections: Sequence[Connection]) -> bool:
    """Return whether every message is compressed, which a bare file does not state."""
    if bag.topics is not None:
        return bag.compression == "message"
    first = next(iter(reader.messages(connections)), None)
    return first is not None and first[2].startswith(zstd.MAGIC)


def _part(advance: Advance, begin: float, share: float) -> Advance:
    return lambda within: advance(begin + share * within)


def _merged(topics: Sequence[TopicCount]) -> Iterator[TopicCount]:
    """Yield one count for each topic and type, on which several nodes may have published."""
    counts: Counter[tuple[str, str]] = Counter()
    for topic in topics:
        counts[topic.name, topic.message_type] += topic.messages
    for (name, message_type), messages in counts.items():
        yield TopicCount(name, message_type, messages)


def _reject_missing(
    source: str,
    topics: Sequence[TopicCount],
    handlers: Mapping[str, MessageHandler],
    found: Counter[str],
) -> None:
    expected: Counter[str] = Counter()
    for topic in topics:
        expected[topic.name] += topic.messages
    for name, messages in expected.items():
        if name in handlers and found[name] != messages:
            raise DamagedBagError(
                f"{source} counts {messages} messages on {name}, the storage holds {found[name]}"
            )


@contextmanager
def _open_file(bag: Bag, file: Path) -> Iterator[Reader]:
    with _uncompressed(bag, file) as readable:
        reject_truncated(readable)
        with open_storage(readable) as reader:
            yield reader


def open_storage(file: Path | TruncatedMcap) -> Reader:
    """Return the reader of a file, to be entered as a context.

    Raises:
        SourceError: Rosbags cannot open a file of such a path.
    """
    if file.suffix == ".bag":
        return Ros1Reader(file)
    if file.suffix == ".db3" and any(character in str(file) for character in NOT_IN_SQLITE_PATHS):
        raise SourceError(
            f"{file} has one of the characters {' '.join(NOT_IN_SQLITE_PATHS)} in its path, which "
            "the reader of SQLite bags cannot open: rename it"
        )
    return Ros2Reader(file)


@contextmanager
def _uncompressed(bag: Bag, file: Path) -> Iterator[Path]:
    """Yield the file, or a temporary decompressed copy of it."""
    if bag.compression != "file":
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / file.with_suffix("").name
        _unpack(file, unpacked)
        yield unpacked


def _unpack(file: Path, to: Path) -> None:
    maximum = SMALL_FILE + MAX_EXPANSION * file.stat().st_size
    with zstd.open_compressed(file) as packed, to.open("wb") as unpacked:
        while block := packed.read(BLOCK):
            try:
                unpacked.write(block)
            except OSError as error:
                raise SourceError(
                    f"{file} cannot be unpacked to {to.parent}: {error.strerror}: set TMPDIR to a "
                    "folder with more space"
                ) from None
            if unpacked.tell() > maximum:
                raise SourceError(
                    f"{file} unpacks to more than {maximum} bytes: if that is right, unpack it "
                    "yourself with 'zstd -d', and remove the compression from its metadata.yaml"
                )
