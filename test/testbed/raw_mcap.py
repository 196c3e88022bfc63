# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Mcap files written record by record, as other recorders than rosbags write them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.bags import (
    BEGIN,
    CHUNKS,
    EMBEDDING,
    PERIOD,
    ROS1_STORE,
    STORE,
    SUCCESS,
    BagBuilder,
    as_ros1,
    decision_arrays,
)

MAGIC = b"\x89MCAP0\r\n"


@dataclass(frozen=True)
class Message:
    """A message to write: its topic, what it says, when it was received."""

    topic: str
    content: Any
    received: int


@dataclass(frozen=True)
class Topic:
    """A topic to write, whatever its definition."""

    name: str
    message_type: str = "some_msgs/msg/Unknown"
    schema_encoding: str = "ros2msg"
    definition: bytes = b"int32 a"
    message_encoding: str = "cdr"


class _Keeping(BagBuilder):
    """Keeps what would be written."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.messages: list[Message] = []

    def write(self, topic: str, message: Any, received: int) -> None:
        self.messages.append(Message(topic, message, received))


def rollout_messages(decisions: int = 20, *, seed: int = 0) -> list[Message]:
    """The messages of a rollout, a decision every 0.1 s, and its outcome."""
    keeping = _Keeping()
    embeddings, chunks = decision_arrays(decisions, seed=seed)
    for index in range(decisions):
        stamp = BEGIN + index * PERIOD
        keeping.embedding(embeddings[index], stamp, stamp + 1_000_000)
        keeping.chunks(chunks[index], stamp, stamp + 2_000_000)
    keeping.flag(SUCCESS, True, BEGIN + decisions * PERIOD)
    return keeping.messages


def write_mcap(
    path: Path,
    messages: Sequence[Message],
    *,
    topics: Sequence[Topic] = (),
    profile: str = "ros2",
    message_encoding: str = "cdr",
    per_chunk: int = 0,
    compression: str = "",
    compress: Callable[[bytes], bytes] = bytes,
    has_summary: bool = True,
    has_statistics: bool = True,
    counts_channels: bool = True,
    data_end: bytes = b"",
) -> Path:
    """Write messages in the order given: in one row, or in chunks without message indexes."""
    names = {topic.name: topic for topic in topics}
    for message in messages:
        kind = message.content.__msgtype__
        names.setdefault(
            message.topic,
            Topic(
                message.topic,
                kind,
                definition=STORE.generate_msgdef(kind, ros_version=2)[0].encode(),
                message_encoding=message_encoding,
            ),
        )
    ids = {name: number for number, name in enumerate(names, start=1)}
    definitions = b"".join(_topic(ids[name], topic) for name, topic in names.items())
    rows = [_message(ids[message.topic], message, message_encoding) for message in messages]
    data = MAGIC + _record(1, _text(profile) + _text("another"))
    if per_chunk:
        for first in range(0, len(rows), per_chunk):
            times = [message.received for message in messages[first : first + per_chunk]]
            content = (b"" if first else definitions) + b"".join(rows[first : first + per_chunk])
            data += _chunk(content, min(times), max(times), compression, compress)
    else:
        data += definitions + b"".join(rows)
    data += data_end + _record(0x0F, struct.pack("<I", 0))
    summary, begin = b"", len(data)
    if has_summary:
        summary = definitions + (_statistics(messages, ids, counts_channels) * has_statistics)
    footer = struct.pack("<QQI", begin if summary else 0, 0, 0)
    path.write_bytes(data + summary + _record(2, footer) + MAGIC)
    return path


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def _text(content: str | bytes) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return struct.pack("<I", len(data)) + data


def _topic(number: int, topic: Topic) -> bytes:
    schema = struct.pack("<H", number) + _text(topic.message_type)
    schema += _text(topic.schema_encoding) + _text(topic.definition)
    channel = struct.pack("<HH", number, number) + _text(topic.name)
    channel += _text(topic.message_encoding) + _text(b"")
    return _record(3, schema) + _record(4, channel)


def _message(number: int, message: Message, encoding: str) -> bytes:
    kind = message.content.__msgtype__
    if encoding == "ros1":
        data = bytes(ROS1_STORE.serialize_ros1(as_ros1(message.content), kind))
    else:
        data = bytes(STORE.serialize_cdr(message.content, kind))
    return _record(5, struct.pack("<HIQQ", number, 0, message.received, message.received) + data)


def _chunk(
    content: bytes, begin: int, end: int, compression: str, compress: Callable[[bytes], bytes]
) -> bytes:
    packed = compress(content)
    head = struct.pack("<QQQI", begin, end, len(content), 0) + _text(compression)
    return _record(6, head + struct.pack("<Q", len(packed)) + packed)


def _statistics(messages: Sequence[Message], ids: dict[str, int], counts_channels: bool) -> bytes:
    times = [message.received for message in messages]
    counts = b"".join(
        struct.pack("<HQ", number, sum(message.topic == name for message in messages))
        for name, number in ids.items()
    )
    head = struct.pack(
        "<QHIIIIQQ", len(messages), len(ids), len(ids), 0, 0, 0, min(times), max(times)
    )
    return _record(0x0B, head + _text(counts if counts_channels else b""))


__all__ = ["CHUNKS", "EMBEDDING", "Message", "Topic", "rollout_messages", "write_mcap"]
