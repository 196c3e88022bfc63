# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads mcap files (https://mcap.dev/spec), whole or up to where they were cut off.

All records are walked over from the begin of the file, which takes a seek for each. So a file is
read with or without chunks, summary, statistics and message indexes, and whatever the order of its
messages. Compressed chunks are unpacked when their time has come.
"""

from __future__ import annotations

import heapq
import struct
import zlib
from bisect import bisect
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from failure_monitor.sources import lz4_frames, zstd
from failure_monitor.sources.storage import (
    CDR,
    Channel,
    DamagedBagError,
    Stored,
    UnsupportedBagError,
    full_type_name,
)

MAGIC = b"\x89MCAP0\r\n"

FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, STATISTICS = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0B

_RECORD = Struct("<BQ")
_MESSAGE = Struct("<HIQQ")
_CHUNK = Struct("<QQQI")
_STATISTICS = Struct("<QHIIIIQQI")
_COUNT = Struct("<HQ")
_ONE, _TWO, _TEXT, _LONG = Struct("<H"), Struct("<HH"), Struct("<I"), Struct("<Q")
_MAX_COMPRESSION_NAME = 64

_NO_CHANNEL = -1


@dataclass(frozen=True)
class _Chunk:
    """A chunk: where its records lie, and what its header states.

    The places of its messages are counted from `first_place`.
    """

    offset: int
    first_place: int
    begin: int
    end: int
    size: int
    checksum: int
    compression: str
    packed_size: int


class McapFile:
    """An open mcap file.

    Attributes:
        channels: Its channels.
        begin: The bag time of the first message in nanoseconds; 0 if there is none.
        end: The bag time of the last message.
    """

    def __init__(self, path: Path, *, is_cut_off: bool = False) -> None:
        """Open the file and walk over its records.

        Args:
            path: The file.
            is_cut_off: True to take the complete records, and to ignore that others are missing.

        Raises:
            DamagedBagError: It is no mcap file, or damaged.
            UnsupportedBagError: Its chunks are compressed in a way that is not read.
            OSError: It cannot be read.
        """
        self.channels: Sequence[Channel] = ()
        self._name = path.name
        self._size = path.stat().st_size
        self._is_cut_off = is_cut_off
        self._schemas: dict[int, str] = {}
        self._named: dict[int, tuple[int, str, str]] = {}
        self._chunks: list[_Chunk] = []
        self._unpacked_size = 0
        self._has_loose_messages = False
        self._has_order = True
        self._found: Counter[int] = Counter()
        self._stated: Counter[int] | None = None
        self._first, self._last = 1 << 63, -1
        self._file: BinaryIO = path.open("rb")
        try:
            self._walk()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> McapFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def begin(self) -> int:
        """The bag time of the first message in nanoseconds; 0 if there is none."""
        return max(0, self._first) if self._last >= 0 else 0

    @property
    def end(self) -> int:
        """The bag time of the last message in nanoseconds; 0 if there is none."""
        return max(0, self._last)

    def messages(self, channels: Collection[int]) -> Iterator[Stored]:
        """Yield the messages of some channels by bag time.

        Raises:
            DamagedBagError: A chunk is damaged.
            UnsupportedBagError: A chunk is compressed in a way that is not read.
        """
        wanted = frozenset(channels)
        sources = [self._of_chunk(chunk, wanted) for chunk in self._chunks]
        if self._has_loose_messages:
            sources.append(self._loose_messages(wanted))
        for stored in sources[0] if len(sources) == 1 else heapq.merge(*sources):
            if stored.channel != _NO_CHANNEL:
                yield stored

    def _walk(self) -> None:
        """Take down all records but the content of chunks."""
        if self._read(0, len(MAGIC)) != MAGIC:
            raise DamagedBagError(f"{self._name} does not begin like an mcap file")
        for kind, at, length in self._records():
            if kind == MESSAGE:
                self._take_loose(at, length)
            elif kind == CHUNK:
                self._take_chunk(at, length)
            elif kind in (SCHEMA, CHANNEL):
                self._take_name(kind, self._read(at, length))
            elif kind == STATISTICS:
                self._take_statistics(self._read(at, length))
        if self._chunks and (
            self._stated is None or not self._stated.keys() <= self._named.keys()
        ):
            self._scan_chunks()
        counts = self._found if self._stated is None else self._stated
        self.channels = [
            Channel(
                number,
                topic,
                full_type_name(self._schemas.get(schema, "")),
                encoding or CDR,
                counts[number],
            )
            for number, (schema, topic, encoding) in self._named.items()
        ]

    def _records(self) -> Iterator[tuple[int, int, int]]:
        """Yield the kind of each record in the file, and where its content begins and ends."""
        at = len(MAGIC)
        while at + _RECORD.size <= self._size:
            kind, length = _RECORD.unpack(self._read(at, _RECORD.size))
            at += _RECORD.size
            if length > self._size - at:
                if self._is_cut_off:
                    return
                raise DamagedBagError(
                    f"{self._name}: the record at byte {at - _RECORD.size} reaches beyond the end"
                )
            if not kind:
                raise DamagedBagError(f"{self._name}: there is no record at byte {at}")
            yield kind, at, length
            if kind == FOOTER:
                return
            at += length
        if not self._is_cut_off:
            raise DamagedBagError(f"{self._name} has no last record")

    def _take_loose(self, at: int, length: int) -> None:
        if length < _MESSAGE.size:
            raise DamagedBagError(f"{self._name}: the message at byte {at} has no header")
        channel, _, received, _ = _MESSAGE.unpack(self._read(at, _MESSAGE.size))
        self._found[channel] += 1
        self._has_loose_messages = True
        self._has_order &= received >= self._last
        self._first, self._last = min(self._first, received), max(self._last, received)

    def _take_chunk(self, at: int, length: int) -> None:
        try:
            begin, end, size, checksum = _CHUNK.unpack(self._read(at, _CHUNK.size))
            compression, names_end = _text(self._read(at + _CHUNK.size, _MAX_COMPRESSION_NAME), 0)
            packed_at = at + _CHUNK.size + names_end + _LONG.size
            (packed_size,) = _LONG.unpack(self._read(packed_at - _LONG.size, _LONG.size))
        except struct.error:
            raise DamagedBagError(f"{self._name}: the chunk at byte {at} has no header") from None
        if packed_at + packed_size > at + length:
            raise DamagedBagError(f"{self._name}: the chunk at byte {at} reaches beyond its end")
        if not size:
            return
        self._chunks.append(
            _Chunk(
                packed_at,
                at + self._unpacked_size,
                begin,
                end,
                size,
                checksum,
                compression,
                packed_size,
            )
        )
        self._unpacked_size += size
        # A chunk without a message, such as one of definitions alone, has no time.
        if end:
            self._first, self._last = min(self._first, begin), max(self._last, end)

    def _take_name(self, kind: int, content: bytes) -> None:
        """Take the name of a message type, or a channel."""
        try:
            if kind == SCHEMA:
                (number,) = _ONE.unpack_from(content)
                self._schemas[number], _ = _text(content, _ONE.size)
                return
            number, schema = _TWO.unpack_from(content)
            topic, at = _text(content, _TWO.size)
            encoding, _ = _text(content, at)
        except struct.error:
            raise DamagedBagError(
                f"{self._name}: the name of a topic or type is cut off"
            ) from None
        if self._named.setdefault(number, (schema, topic, encoding))[1] != topic:
            raise DamagedBagError(f"{self._name}: two topics have the channel number {number}")

    def _take_statistics(self, content: bytes) -> None:
        try:
            messages, *_, size = _STATISTICS.unpack_from(content)
            counts = content[_STATISTICS.size : _STATISTICS.size + size]
            stated = Counter(dict(_COUNT.iter_unpack(counts)))
        except struct.error:
            raise DamagedBagError(f"{self._name}: its statistics are cut off") from None
        # A writer that does not count by channel leaves the counts out.
        if stated or not messages:
            self._stated = stated

    def _scan_chunks(self) -> None:
        """Find channels and count messages inside chunks, where nothing else states them."""
        for number, chunk in enumerate(self._chunks):
            try:
                content = self._unpacked(chunk)
            except Exception:
                if not self._is_cut_off:
                    raise
                del self._chunks[number:]
                return
            for kind, at, length in _records_of(content, self._name):
                if kind in (SCHEMA, CHANNEL):
                    self._take_name(kind, content[at : at + length])
                elif kind == MESSAGE:
                    self._found[_MESSAGE.unpack_from(content, at)[0]] += 1

    def _of_chunk(self, chunk: _Chunk, wanted: frozenset[int]) -> Iterator[Stored]:
        """Yield when a chunk begins, then its messages by bag time."""
        first_place = chunk.first_place
        yield Stored(chunk.begin, first_place, _NO_CHANNEL, b"")
        content = self._unpacked(chunk)
        found = []
        for kind, at, length in _records_of(content, self._name):
            if kind == MESSAGE:
                channel, _, received, _ = _MESSAGE.unpack_from(content, at)
                if channel in wanted:
                    data = content[at + _MESSAGE.size : at + length]
                    found.append(Stored(received, first_place + at, channel, data))
        found.sort()
        if found and found[0].received < chunk.begin:
            raise DamagedBagError(
                f"{self._name}: a chunk holds messages from before the time that it states"
            )
        yield from found

    def _loose_messages(self, wanted: frozenset[int]) -> Iterator[Stored]:
        """Yield the messages outside of chunks by bag time."""
        begins = [chunk.offset for chunk in self._chunks]
        sizes = [0, *accumulate(chunk.size for chunk in self._chunks)]
        found = self._loose(wanted)
        for received, at, length, channel in found if self._has_order else sorted(found):
            data = self._read(at + _MESSAGE.size, length - _MESSAGE.size)
            yield Stored(received, at + sizes[bisect(begins, at)], channel, data)

    def _loose(self, wanted: frozenset[int]) -> Iterator[tuple[int, int, int, int]]:
        for kind, at, length in self._records():
            if kind == MESSAGE:
                channel, _, received, _ = _MESSAGE.unpack(self._read(at, _MESSAGE.size))
                if channel in wanted:
                    yield received, at, length, channel

    def _unpacked(self, chunk: _Chunk) -> bytes:
        packed = self._read(chunk.offset, chunk.packed_size)
        if chunk.compression == "zstd":
            content = zstd.decompress(packed)
        elif chunk.compression == "lz4":
            content = lz4_frames.decompress(packed)
        elif not chunk.compression:
            content = packed
        else:
            raise UnsupportedBagError(
                f"{self._name} is compressed with '{chunk.compression}', expected zstd, lz4 or "
                "nothing: 'mcap compress' rewrites it, if it can read it"
            )
        if len(content) != chunk.size:
            raise DamagedBagError(
                f"{self._name}: a chunk unpacks to {len(content)} bytes, it states {chunk.size}"
            )
        if chunk.checksum and zlib.crc32(content) != chunk.checksum:
            raise DamagedBagError(f"{self._name}: a chunk has another checksum than it states")
        return content

    def _read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        return self._file.read(size)


def _records_of(content: bytes, name: str) -> Iterator[tuple[int, int, int]]:
    """Yield the kind of each record in a chunk, and where its content begins and ends."""
    at, size = 0, len(content)
    while at + _RECORD.size <= size:
        kind, length = _RECORD.unpack_from(content, at)
        at += _RECORD.size
        if length > size - at or (kind == MESSAGE and length < _MESSAGE.size):
            raise DamagedBagError(f"{name}: a record in a chunk reaches beyond its end")
        yield kind, at, length
        at += length


def _text(content: bytes, at: int) -> tuple[str, int]:
    """Return the text at a place, and the place behind it."""
    (length,) = _TEXT.unpack_from(content, at)
    at += _TEXT.size
    if length > len(content) - at:
        raise struct.error
    return content[at : at + length].decode("utf-8", "replace"), at + length
