# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The outcome of a rollout, written into its bag afterwards by somebody who knows it.

A rosbag2 folder may consist of several files. The outcome becomes one more, with a message on the
outcome's topic behind all others, so that whatever reads the bag finds it where a robot that
knows by itself would have put it. What was recorded is not touched; a second outcome takes the
place of the first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from failure_monitor.atomic_file import write_atomically
from failure_monitor.incidents.folder import OUTCOME_STEM
from failure_monitor.sources.bag_files import Bag, DamagedBagError, bag_at, is_bag_folder
from failure_monitor.sources.bag_messages import read_messages
from failure_monitor.sources.bag_metadata import METADATA_FILE
from failure_monitor.sources.bag_recording import BOOL_TYPE
from failure_monitor.sources.boundaries import spans_of_markers
from failure_monitor.sources.message_decoder import MessageDecoder
from failure_monitor.sources.source import SourceError

WORKSHOP = f".{OUTCOME_STEM}"
"""The folder inside the bag where the new file is made."""

STORAGE = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
COMPRESSION = {"message": CompressionMode.MESSAGE, "file": CompressionMode.FILE}

Information = dict[str, Any]
"""What metadata.yaml says, below its one key."""


@dataclass(frozen=True)
class LabelledBag:
    """A bag that has got an outcome.

    Attributes:
        said: what its recorder said of it, by name; empty for most recorders.
        is_corrected: whether it had been given an outcome in this way before.
    """

    said: Mapping[str, str]
    is_corrected: bool


def write_outcome(
    path: Path, success: bool, *, success_topic: str, active_topic: str
) -> LabelledBag:
    """Write the outcome of a bag's one rollout into the bag.

    Args:
        path: a rosbag2 folder.
        success: the outcome.
        success_topic: where outcomes are said, as std_msgs/Bool.
        active_topic: where it is said whether a rollout runs; a bag may lack it.

    Raises:
        SourceError: the path is no rosbag2 folder, is damaged, holds several rollouts, or cannot
            be written to.
    """
    if not is_bag_folder(path):
        raise SourceError(
            f"{path} is no rosbag2 folder, and nothing else takes an outcome: write it to a file "
            "of labels, which 'calibrate' and 'evaluate' read with --labels"
        )
    try:
        _remove_unfinished(path)
        bag = bag_at(path)
        _reject_several_rollouts(bag, active_topic)
        _reject_another_type(bag, success_topic)
        return _add_file(path, success, success_topic)
    except (DamagedBagError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is damaged ({error}): label another copy of it") from None
    except OSError as error:
        where = error.filename or path
        raise SourceError(f"{where} cannot be written to: {error.strerror or error}") from None


def _remove_unfinished(path: Path) -> None:
    """Of a labelling that was interrupted before the metadata named its file."""
    shutil.rmtree(path / WORKSHOP, ignore_errors=True)
    metadata = path / METADATA_FILE
    text = metadata.read_text("utf-8", "replace") if metadata.exists() else ""
    for file in path.glob(f"{OUTCOME_STEM}.*"):
        if file.name not in text:
            file.unlink()


def _reject_several_rollouts(bag: Bag, active_topic: str) -> None:
    markers: list[tuple[int, bool]] = []
    decoder = MessageDecoder(ros1=False)

    def take(received: int, serialised: bytes) -> None:
        markers.append((received, decoder.decode(serialised, BOOL_TYPE).data))

    read_messages(bag, {active_topic: take})
    rollouts = len(spans_of_markers(markers))
    if rollouts > 1:
        raise SourceError(
            f"{bag.path} holds {rollouts} rollouts by {active_topic}, and this is one outcome: "
            "write theirs to a file of labels, which 'calibrate' and 'evaluate' read with --labels"
        )


def _reject_another_type(bag: Bag, success_topic: str) -> None:
    for topic in bag.topics or ():
        if topic.name == success_topic and topic.message_type != BOOL_TYPE:
            raise SourceError(
                f"{bag.path}: {success_topic} is a {topic.message_type}, expected a {BOOL_TYPE}: "
                "name another --success-topic"
            )


def _add_file(path: Path, success: bool, success_topic: str) -> LabelledBag:
    metadata = yaml.safe_load((path / METADATA_FILE).read_bytes())
    information: Information = metadata["rosbag2_bagfile_information"]
    is_corrected = _take_out_outcome(information, success_topic)
    end = _begin(information) + int(information["duration"]["nanoseconds"])
    time = end if is_corrected else end + 1
    file, digest = _make_file(path, information, success, success_topic, time)
    _name_file(information, file.name, success_topic, digest, time)
    # The file before what names it: between the two the bag is refused, and labelling it again
    # mends it.
    os.replace(file, path / file.name)
    write_atomically(path / METADATA_FILE, yaml.safe_dump(metadata, sort_keys=False))
    shutil.rmtree(path / WORKSHOP)
    return LabelledBag(dict(information.get("custom_data") or {}), is_corrected)


def _begin(information: Information) -> int:
    return int(information["starting_time"]["nanoseconds_since_epoch"])


def _is_outcome(file: str) -> bool:
    return file.rpartition("/")[2].startswith(f"{OUTCOME_STEM}.")


def _take_out_outcome(information: Information, success_topic: str) -> bool:
    """Unname the file of an earlier outcome; whether there was one."""
    names = information["relative_file_paths"]
    kept = [name for name in names if not _is_outcome(name)]
    if len(kept) == len(names):
        return False
    information["relative_file_paths"] = kept
    information["files"] = [
        file for file in information.get("files") or () if not _is_outcome(file["path"])
    ]
    information["message_count"] -= 1
    _topic(information, success_topic)["message_count"] -= 1
    return True


def _topic(information: Information, name: str) -> dict[str, Any]:
    """The entry of a topic; a new one if there is none."""
    topics: list[dict[str, Any]] = information["topics_with_message_count"]
    for topic in topics:
        if topic["topic_metadata"]["name"] == name:
            return topic
    new = {
        "topic_metadata": {
            "name": name,
            "type": BOOL_TYPE,
            "serialization_format": "cdr",
            # A list from version 9 on, before that its YAML as text.
            "offered_qos_profiles": [] if information["version"] >= 9 else "",
        },
        "message_count": 0,
    }
    topics.append(new)
    return new


def _make_file(
    path: Path, information: Information, success: bool, topic: str, time: int
) -> tuple[Path, str]:
    """A file of one message, stored as the bag is, and the hash of the message's type."""
    types = get_typestore(Stores.ROS2_JAZZY)
    folder = path / WORKSHOP / OUTCOME_STEM
    writer = Writer(folder, version=9, storage_plugin=STORAGE[information["storage_identifier"]])
    mode = (information.get("compression_mode") or "").lower()
    if mode in COMPRESSION:
        writer.set_compression(COMPRESSION[mode], CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(topic, BOOL_TYPE, typestore=types)
        message = types.types[BOOL_TYPE](data=success)
        writer.write(connection, time, bytes(types.serialize_cdr(message, BOOL_TYPE)))
    [file] = (file for file in folder.iterdir() if file.name != METADATA_FILE)
    return file, connection.digest


def _name_file(information: Information, name: str, topic: str, digest: str, time: int) -> None:
    """Say in the metadata that the file is there, and what is in it."""
    entry = _topic(information, topic)
    entry["message_count"] += 1
    if information["version"] >= 7:
        entry["topic_metadata"].setdefault("type_description_hash", digest)
    # Before version 4 names were relative to the folder above.
    folder, slash, _ = str(information["relative_file_paths"][0]).rpartition("/")
    information["relative_file_paths"].append(f"{folder}{slash}{name}")
    information["message_count"] += 1
    information["duration"] = {"nanoseconds": time - _begin(information)}
    if "files" in information:
        information["files"].append(
            {
                "path": name,
                "starting_time": {"nanoseconds_since_epoch": time},
                "duration": {"nanoseconds": 0},
                "message_count": 1,
            }
        )
