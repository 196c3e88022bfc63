# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bag's messages, one after the other, whatever kind of bag it is.

Nothing is kept: a message is handed on as the bytes that were recorded, and forgotten.
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
from failure_monitor.sources.bag_files import Bag, DamagedBagError, refuse_cut_off
from failure_monitor.sources.bag_metadata import METADATA_FILE, TopicCount
from failure_monitor.sources.message_decoder import MessageHandler, UndecodableError
from failure_monitor.sources.source import Advance, SourceError
from failure_monitor.sources.truncated_mcap import TruncatedMcap

Reader: TypeAlias = "Ros1Reader | Ros2Reader"

MESSAGES_BETWEEN_ADVANCES = 256
LARGEST_EXPANSION = 100
"""How many times its size a compressed file may unpack to, and `SMALL_FILE` bytes more."""
SMALL_FILE = 1 << 30
BLOCK = 1 << 20
NOT_IN_SQLITE_PATHS = "?#%"
"""What rosbags puts into a URI as it is."""


def is_ros1(bag: Bag) -> bool:
    """Whether its messages are serialised as ROS 1 does."""
    return all(file.suffix == ".bag" for file in bag.files)


@dataclass(frozen=True)
class BagSummary:
    """What was recorded.

    Attributes:
        topics: by name.
        seconds: from the first message to the last.
    """

    topics: tuple[TopicCount, ...]
    seconds: float


def summary(bag: Bag) -> BagSummary:
    """What was recorded in a bag, without its messages.

    Raises:
        DamagedBagError: a file lacks its end.
        Exception: any that rosbags has for a damaged file.
    """
    topics, seconds = bag.topics, bag.seconds
    if topics is None or seconds is None:
        with _opened(bag, bag.files[0]) as reader:
            seconds = 1e-9 * reader.duration
            topics = tuple(
                TopicCount(connection.topic, connection.msgtype, connection.msgcount)
                for connection in reader.connections
            )
    return BagSummary(tuple(sorted(_merged(topics), key=lambda topic: topic.name)), seconds)


def read_messages(
    bag: Bag, takes: Mapping[str, MessageHandler], advance: Advance = lambda share: None
) -> None:
    """Hand on every message of some topics, file after file, by bag time.

    Args:
        bag: what is read.
        takes: what takes a topic's messages.
        advance: told which share has been read.

    Raises:
        DamagedBagError: a file lacks its end, or messages are missing.
        Exception: any that rosbags has for a damaged file, or that a taker raises.
    """
    found: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    sizes = [file.stat().st_size for file in bag.files]
    for index, file in enumerate(bag.files):
        begin, share = sum(sizes[:index]) / max(1, sum(sizes)), sizes[index] / max(1, sum(sizes))
        with _opened(bag, file) as reader:
            connections = [c for c in reader.connections if c.topic in takes]
            for connection in connections:
                expected[connection.topic] += connection.msgcount
            if connections:
                _hand_on(bag, reader, connections, takes, found, _part(advance, begin, share))
    if bag.topics is not None:
        _refuse_missing(METADATA_FILE, bag.topics, takes, found)
    _refuse_missing("its index", [TopicCount(t, "", n) for t, n in expected.items()], takes, found)
    advance(1.0)


def read_messages_from(reader: Reader, takes: Mapping[str, MessageHandler]) -> None:
    """Hand on every message of some topics of an open file, whatever is wrong with it."""
    connections = [c for c in reader.connections if c.topic in takes]
    if connections:
        for connection, received, serialised in reader.messages(connections):
            takes[connection.topic](received, serialised)


def _hand_on(
    bag: Bag,
    reader: Reader,
    connections: Sequence[Connection],
    takes: Mapping[str, MessageHandler],
    found: Counter[str],
    advance: Advance,
) -> None:
    """Hand on messages, and add up how many were found of each topic."""
    unpack = _unpacking if _are_packed(bag, reader, connections) else _as_it_is
    take = {connection.id: unpack(takes[connection.topic]) for connection in connections}
    counts = dict.fromkeys(take, 0)
    begin, duration = reader.start_time, max(1, reader.duration)
    until_advance = MESSAGES_BETWEEN_ADVANCES
    number = connections[0].id
    # This loop is as fast as reading can be: whatever is said of a message is said when it fails.
    try:
        for connection, received, serialised in reader.messages(connections):
            number = connection.id
            take[number](received, serialised)
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


def _as_it_is(take: MessageHandler) -> MessageHandler:
    return take


def _unpacking(take: MessageHandler) -> MessageHandler:
    return lambda received, packed: take(received, zstd.decompress(packed))


def _are_packed(bag: Bag, reader: Reader, connections: Sequence[Connection]) -> bool:
    """Whether every message is compressed, which a bare file does not say of itself."""
    if bag.topics is not None:
        return bag.compression == "message"
    first = next(iter(reader.messages(connections)), None)
    return first is not None and first[2].startswith(zstd.MAGIC)


def _part(advance: Advance, begin: float, share: float) -> Advance:
    return lambda within: advance(begin + share * within)


def _merged(topics: Sequence[TopicCount]) -> Iterator[TopicCount]:
    """One for each topic and type, although several nodes may have published there."""
    counts: Counter[tuple[str, str]] = Counter()
    for topic in topics:
        counts[topic.name, topic.message_type] += topic.messages
    for (name, message_type), messages in counts.items():
        yield TopicCount(name, message_type, messages)


def _refuse_missing(
    who: str, topics: Sequence[TopicCount], takes: Mapping[str, MessageHandler], found: Counter[str]
) -> None:
    expected: Counter[str] = Counter()
    for topic in topics:
        expected[topic.name] += topic.messages
    for name, messages in expected.items():
        if name in takes and found[name] != messages:
            raise DamagedBagError(
                f"{who} counts {messages} messages on {name}, the storage holds {found[name]}"
            )


@contextmanager
def _opened(bag: Bag, file: Path) -> Iterator[Reader]:
    with _uncompressed(bag, file) as readable:
        refuse_cut_off(readable)
        with open_storage(readable) as reader:
            yield reader


def open_storage(file: Path | TruncatedMcap) -> Reader:
    """What reads one file, to be entered as a context.

    Raises:
        SourceError: rosbags cannot open a file of such a path.
    """
    if file.suffix == ".bag":
        return Ros1Reader(file)
    if file.suffix == ".db3" and any(sign in str(file) for sign in NOT_IN_SQLITE_PATHS):
        raise SourceError(
            f"{file} has one of {' '.join(NOT_IN_SQLITE_PATHS)} in its path, which the reader of "
            "SQLite bags cannot open: rename it"
        )
    return Ros2Reader(file)


@contextmanager
def _uncompressed(bag: Bag, file: Path) -> Iterator[Path]:
    """The file, or a copy of it that is unpacked for as long as it is needed."""
    if bag.compression != "file":
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / file.with_suffix("").name
        _unpack(file, unpacked)
        yield unpacked


def _unpack(file: Path, to: Path) -> None:
    most = SMALL_FILE + LARGEST_EXPANSION * file.stat().st_size
    with zstd.open_compressed(file) as packed, to.open("wb") as unpacked:
        while block := packed.read(BLOCK):
            try:
                unpacked.write(block)
            except OSError as error:
                raise SourceError(
                    f"{file} cannot be unpacked to {to.parent}: {error.strerror}: set TMPDIR to a "
                    "folder with more space"
                ) from None
            if unpacked.tell() > most:
                raise SourceError(
                    f"{file} unpacks to more than {most} bytes: unpack it yourself, with 'zstd -d' "
                    "and without compression in its metadata.yaml, if that is right"
                )
