# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What every kind of storage file gives: its channels, and their messages.

Definitions of messages and profiles of publishers are passed over: the types that are read are
known, and whatever else was recorded is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from failure_monitor.sources.source import SourceError

CDR, ROS1 = "cdr", "ros1"
"""The names of how ROS 2 and ROS 1 serialise messages."""


class DamagedBagError(Exception):
    """A bag that is incomplete or contradicts itself; the caller adds the name of the bag."""


class UnsupportedBagError(SourceError):
    """A bag that may be whole, but is stored in a way that is not read."""


@dataclass(frozen=True)
class Channel:
    """The messages of one topic and type in a file.

    Attributes:
        number: Identifies it within the file.
        topic: The name of the topic.
        message_type: The type of its messages, such as `std_msgs/msg/Bool`; empty if unknown.
        encoding: How they are serialised: `cdr`, `ros1`, or something that is not read.
        messages: How many messages the file states, or holds where it states nothing.
    """

    number: int
    topic: str
    message_type: str
    encoding: str
    messages: int


class Stored(NamedTuple):
    """A message in a file.

    Attributes:
        received: The bag time in nanoseconds.
        place: Its place among the messages of the file, in the order in which they were written.
        channel: The number of its channel.
        data: Its bytes.
    """

    received: int
    place: int
    channel: int
    data: bytes


class StorageFile(Protocol):
    """An open storage file, a context manager that closes it."""

    @property
    def channels(self) -> Sequence[Channel]:
        """The channels of the file."""

    @property
    def begin(self) -> int:
        """The bag time of the first message in nanoseconds; 0 if there is none."""

    @property
    def end(self) -> int:
        """The bag time of the last message in nanoseconds; 0 if there is none."""

    def messages(self, channels: Collection[int]) -> Iterator[Stored]:
        """Yield the messages of some channels by bag time.

        Raises:
            DamagedBagError: The file is damaged.
            UnsupportedBagError: They are compressed in a way that is not read.
        """

    def __enter__(self) -> StorageFile:
        """Return the file."""

    def __exit__(self, *_: object) -> None:
        """Close the file."""


def full_type_name(name: str) -> str:
    """Return the name of a message type as ROS 2 writes it, of `std_msgs/Bool` for instance."""
    package, separator, kind = name.partition("/")
    return f"{package}/msg/{kind}" if separator and "/" not in kind else name
