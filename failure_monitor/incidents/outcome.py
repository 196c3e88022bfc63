# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Adds an operator's word on a rollout to its bag after recording.

A rosbag2 folder may consist of several files. The word becomes another file, with one message on
the topic of labels behind all others, as if the operator had said so while the bag was recorded.
The recorded files do not change, nor does what was claimed. A second word replaces the first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from failure_monitor.atomic_file import write_atomically
from failure_monitor.incidents.folder import OUTCOME_STEM
from failure_monitor.sources.bag_files import Bag, bag_at, is_bag_folder
from failure_monitor.sources.bag_messages import open_bag
from failure_monitor.sources.bag_metadata import METADATA_FILE
from failure_monitor.sources.bag_recording import BOOL_TYPE
from failure_monitor.sources.boundaries import spans_of_markers
from failure_monitor.sources.message_decoder import MessageDecoder
from failure_monitor.sources.source import SourceError
from failure_monitor.sources.storage import DamagedBagError, UnsupportedBagError

WORK_FOLDER = f".{OUTCOME_STEM}"
"""The folder inside of the bag in which the new file is made."""

STORAGE = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
COMPRESSION = {"message": CompressionMode.MESSAGE, "file": CompressionMode.FILE}

Information = dict[str, Any]
"""The content of metadata.yaml, below its only key."""


@dataclass(frozen=True)
class LabelledBag:
    """A bag to which an operator's word was added.

    Attributes:
        path: The rosbag2 folder.
        custom_data: What the recorder stated about the bag; empty for most recorders.
        is_corrected: True if an earlier word was replaced.
        claim: What was claimed when the rollout ended; None if nothing was.
    """

    path: Path
    custom_data: Mapping[str, str]
    is_corrected: bool
    claim: bool | None


@dataclass(frozen=True)
class LabelTopics:
    """The topics of a bag that an operator's word depends on.

    Attributes:
        label: Of such words, std_msgs/Bool.
        success: Of what was claimed, std_msgs/Bool; a bag may lack it.
        active: True while a rollout runs; a bag may lack it.
    """

    label: str
    success: str
    active: str


@dataclass(frozen=True)
class _BagToLabel:
    """A bag that can be labelled.

    Attributes:
        path: The rosbag2 folder.
        earlier: The topic of the word that was added before; empty if none was.
        claim: What was claimed when the rollout ended; None if nothing was.
    """

    path: Path
    earlier: str
    claim: bool | None


def write_outcomes(
    paths: Sequence[Path], success: bool, topics: LabelTopics
) -> Iterator[LabelledBag]:
    """Add an operator's word to bags of one rollout each, once all are known to take it.

    Args:
        paths: rosbag2 folders; one that is named twice is labelled once.
        success: Whether the rollouts succeeded, by the operator's word.
        topics: The topics of the bags.

    Yields:
        Each bag once it is labelled.

    Raises:
        SourceError: A path is not a rosbag2 folder, is damaged, holds several rollouts, or cannot
            be written to.
        UnwritableError: The metadata cannot be written.
    """
    named = {os.path.realpath(path): path for path in paths}
    ready = [_bag_to_label(path, topics) for path in named.values()]
    for bag in ready:
        with _problems(bag.path):
            labelled = _add_outcome(bag, success, topics.label)
        yield labelled


def _bag_to_label(path: Path, topics: LabelTopics) -> _BagToLabel:
    if not is_bag_folder(path):
        raise SourceError(
            f"{path} is not a rosbag2 folder, and no other source can hold an outcome: write it "
            "to a file of labels, which 'calibrate' and 'evaluate' read with --labels"
        )
    with _problems(path):
        _remove_unfinished(path)
        bag = bag_at(path)
        _reject_another_type(bag, topics.label, "--label-topic")
        _reject_another_type(bag, topics.success, "--success-topic")
        earlier = _topic_of_earlier_word(bag)
        claims = _read_claims(bag, topics.active, topics.success)
        # Words were written on the topic of claims once, and then are no claim.
        claims = claims[:-1] if earlier == topics.success else claims
        return _BagToLabel(path, earlier, claims[-1] if claims else None)


@contextmanager
def _problems(path: Path) -> Iterator[None]:
    """Turn what is wrong with a bag into a sentence."""
    try:
        yield
    except UnsupportedBagError as error:
        raise SourceError(f"{path}: {error}") from None
    except (DamagedBagError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is damaged ({error}): label another copy of it") from None
    except OSError as error:
        where = error.filename or path
        raise SourceError(f"{where} cannot be written to: {error.strerror or error}") from None


def _remove_unfinished(path: Path) -> None:
    """Remove the file of an interrupted labelling, which the metadata do not name."""
    shutil.rmtree(path / WORK_FOLDER, ignore_errors=True)
    metadata = path / METADATA_FILE
    text = metadata.read_text("utf-8", "replace") if metadata.exists() else ""
    for file in path.glob(f"{OUTCOME_STEM}.*"):
        if file.name not in text:
            file.unlink()


def _read_claims(bag: Bag, active_topic: str, success_topic: str) -> list[bool]:
    """Return what was claimed of the only rollout of a bag.

    Raises:
        SourceError: There are several rollouts.
    """
    claims: list[bool] = []
    markers: list[tuple[int, bool]] = []
    decoder = MessageDecoder(ros1=False)

    with open_bag(bag) as messages:
        types = {topic.name: topic.message_type for topic in messages.summary().topics}

        def on_marker(received: int, serialised: bytes) -> None:
            # A text names the task while a rollout runs, and is empty while none does.
            markers.append((received, bool(decoder.decode(serialised, types[active_topic]).data)))

        def on_claim(received: int, serialised: bytes) -> None:
            claims.append(bool(decoder.decode(serialised, BOOL_TYPE).data))

        messages.read({active_topic: on_marker, success_topic: on_claim})
    rollouts = len(spans_of_markers(markers))
    if rollouts > 1:
        raise SourceError(
            f"{bag.path} holds {rollouts} rollouts by {active_topic}, but there is one outcome: "
            "write all outcomes to a file of labels, which 'calibrate' and 'evaluate' read with "
            "--labels"
        )
    return claims


def _topic_of_earlier_word(bag: Bag) -> str:
    """Return the topic of the word that was added before; empty if none was."""
    for file in filter(lambda file: _is_outcome(file.name), bag.files):
        with open_bag(bag_at(file)) as messages:
            return next(topic.name for topic in messages.summary().topics if topic.messages)
    return ""


def _reject_another_type(bag: Bag, name: str, option: str) -> None:
    for topic in bag.topics or ():
        if topic.name == name and topic.message_type != BOOL_TYPE:
            raise SourceError(
                f"{bag.path}: {name} is a {topic.message_type}, expected a {BOOL_TYPE}: "
                f"name another {option}"
            )


def _add_outcome(bag: _BagToLabel, success: bool, label_topic: str) -> LabelledBag:
    path = bag.path
    metadata = yaml.safe_load((path / METADATA_FILE).read_bytes())
    information: Information = metadata["rosbag2_bagfile_information"]
    is_corrected = _remove_outcome(information, bag.earlier)
    end = _begin(information) + int(information["duration"]["nanoseconds"])
    time = end if is_corrected else end + 1
    file, digest = _make_file(path, information, success, label_topic, time)
    _name_file(information, file.name, label_topic, digest, time)
    # The file is moved before the metadata name it. If this is interrupted in between, the bag is
    # rejected until it is labelled again.
    os.replace(file, path / file.name)
    write_atomically(path / METADATA_FILE, yaml.safe_dump(metadata, sort_keys=False))
    shutil.rmtree(path / WORK_FOLDER)
    return LabelledBag(path, dict(information.get("custom_data") or {}), is_corrected, bag.claim)


def _begin(information: Information) -> int:
    return int(information["starting_time"]["nanoseconds_since_epoch"])


def _is_outcome(file: str) -> bool:
    return file.rpartition("/")[2].startswith(f"{OUTCOME_STEM}.")


def _remove_outcome(information: Information, topic: str) -> bool:
    """Remove an earlier word on a topic from the metadata, and return whether there was one."""
    names = information["relative_file_paths"]
    kept = [name for name in names if not _is_outcome(name)]
    if len(kept) == len(names):
        return False
    information["relative_file_paths"] = kept
    information["files"] = [
        file for file in information.get("files") or () if not _is_outcome(file["path"])
    ]
    information["message_count"] -= 1
    _topic(information, topic)["message_count"] -= 1
    return True


def _topic(information: Information, name: str) -> dict[str, Any]:
    """Return the entry of a topic, which is added if it is missing."""
    topics: list[dict[str, Any]] = information["topics_with_message_count"]
    for topic in topics:
        if topic["topic_metadata"]["name"] == name:
            return topic
    new = {
        "topic_metadata": {
            "name": name,
            "type": BOOL_TYPE,
            "serialization_format": "cdr",
            # A list from version 9 on, YAML as text before.
            "offered_qos_profiles": [] if information["version"] >= 9 else "",
        },
        "message_count": 0,
    }
    topics.append(new)
    return new


def _make_file(
    path: Path, information: Information, success: bool, topic: str, time: int
) -> tuple[Path, str]:
    """Make a file of one message, stored like the bag, and return it and the hash of its type."""
    types = get_typestore(Stores.ROS2_JAZZY)
    folder = path / WORK_FOLDER / OUTCOME_STEM
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
    """Add the file and its message to the metadata."""
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
