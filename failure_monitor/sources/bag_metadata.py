# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads and checks the metadata.yaml of a rosbag2 folder.

The YAML parser of rosbags would take longer than all messages of a small bag.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

from failure_monitor.sources.storage import CDR

METADATA_FILE = "metadata.yaml"
MAX_METADATA_SIZE = 16 << 20
"""Maximum size in bytes; thousands of split files and topics stay far below it."""
NEWEST_VERSION = 9
"""The newest version that is known. Later ones are read as far as they have the same keys."""
BEGINS_WITH_ROLLOUT = "incident.begins_with_rollout"
"""Key under which an incident recorder states whether the bag holds the whole rollout."""
COMPRESSION_MODES = ("", "none", "file", "message")

# The C parser is much faster, but not always installed.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class MetadataError(Exception):
    """A metadata.yaml that is damaged or impossible; the caller adds the name of the bag."""


@dataclass(frozen=True)
class TopicCount:
    """A topic of a bag.

    Attributes:
        name: The name of the topic.
        message_type: The type of its messages, such as `std_msgs/msg/Bool`.
        messages: The number of messages that the bag claims to hold.
        encoding: How they are serialised, `cdr` by ROS 2.
    """

    name: str
    message_type: str
    messages: int
    encoding: str = CDR


@dataclass(frozen=True)
class BagMetadata:
    """The parts of metadata.yaml that are needed for reading.

    Attributes:
        files: The names of the storage files, in order.
        packs_messages: Whether each message is compressed.
        topics: The recorded topics.
        is_cut_at_start: True if an incident recorder states that the rollout had started before.
    """

    files: tuple[str, ...]
    packs_messages: bool
    topics: tuple[TopicCount, ...]
    is_cut_at_start: bool


def read_metadata(folder: Path) -> BagMetadata:
    """Read the metadata.yaml of a bag folder.

    Raises:
        MetadataError: It is missing, malformed, or names files outside of the folder.
        OSError: It cannot be read.
    """
    information = _information(folder)
    version = _field(information, "version", int)
    try:
        return _metadata(information, version)
    except MetadataError as error:
        if version <= NEWEST_VERSION:
            raise
        raise MetadataError(
            f"{error}; it is of version {version}, and {NEWEST_VERSION} is the newest that is "
            "known"
        ) from None


def read_custom_data(folder: Path) -> dict[str, str]:
    """Read what the recorder of a bag stated about it; empty for most recorders.

    Raises:
        MetadataError: Its metadata.yaml is missing or malformed.
        OSError: It cannot be read.
    """
    stated = _custom(_information(folder))
    return {str(key): str(value) for key, value in stated.items()}


def _information(folder: Path) -> dict[str, Any]:
    path = folder / METADATA_FILE
    if not path.is_file():
        raise MetadataError(f"{METADATA_FILE} is missing, or no file")
    if path.stat().st_size > MAX_METADATA_SIZE:
        raise MetadataError(f"{METADATA_FILE} has more than {MAX_METADATA_SIZE} bytes")
    try:
        content = yaml.load(path.read_bytes(), _LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MetadataError(f"{METADATA_FILE} is not plain YAML ({_first_line(error)})") from None
    information: dict[str, Any] = _field(content, "rosbag2_bagfile_information", dict)
    return information


def _metadata(information: dict[str, Any], version: int) -> BagMetadata:
    files = _field(information, "relative_file_paths", list)
    topics = _field(information, "topics_with_message_count", list)
    return BagMetadata(
        files=tuple(_name_inside(file, version) for file in files),
        packs_messages=_packs_messages(information),
        topics=tuple(_topic(item) for item in topics),
        is_cut_at_start=_custom(information).get(BEGINS_WITH_ROLLOUT) == "false",
    )


def _field(content: Any, key: str, kind: type) -> Any:
    value = content.get(key) if isinstance(content, dict) else None
    if type(value) is not kind:
        raise MetadataError(
            f"{METADATA_FILE} has a '{key}' of type {type(value).__name__}, expected "
            f"{kind.__name__}"
        )
    return value


def _custom(information: dict[str, Any]) -> dict[Any, Any]:
    custom = information.get("custom_data")
    return custom if isinstance(custom, dict) else {}


def _name_inside(file: Any, version: int) -> str:
    """Return the name of a file without its folder, which versions 1 to 3 put before it."""
    # Recorded under Windows, folders are parted by backslashes.
    path = PureWindowsPath(file if isinstance(file, str) else "")
    if not path.name or (version > 3 and len(path.parts) > 1) or ".." in path.parts:
        stated = file[:80] if isinstance(file, str) else type(file).__name__
        raise MetadataError(f"{METADATA_FILE} names a file outside of the bag ('{stated}')")
    return path.name


def _packs_messages(information: dict[str, Any]) -> bool:
    """Return whether messages are compressed; files state by their names whether they are."""
    mode = information.get("compression_mode") or ""
    if not isinstance(mode, str) or mode.lower() not in COMPRESSION_MODES:
        raise MetadataError(f"{METADATA_FILE} has an unknown compression_mode")
    return mode.lower() == "message"


def _topic(item: Any) -> TopicCount:
    topic = _field(item, "topic_metadata", dict)
    return TopicCount(
        name=_field(topic, "name", str),
        message_type=_field(topic, "type", str),
        messages=_field(item, "message_count", int),
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
