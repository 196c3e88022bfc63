# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts from bags: rosbag2 folders, bare mcap and SQLite files, ROS 1 bags.

A bag is read whole or refused: half a rollout would pass for a short one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.bag_files import (
    DamagedBagError,
    bag_at,
    is_bag_file,
    is_bag_folder,
    refuse_cut_off,
    storage_files,
)
from failure_monitor.sources.bag_messages import (
    BagSummary,
    is_ros1,
    open_storage,
    read_messages,
    read_messages_from,
    summary,
)
from failure_monitor.sources.bag_metadata import TopicCount
from failure_monitor.sources.bag_recording import BagRecording, Meanings, meanings
from failure_monitor.sources.bag_rollouts import rollouts_of
from failure_monitor.sources.memory_bound import bounded_memory
from failure_monitor.sources.message_decoder import MessageDecoder
from failure_monitor.sources.replay_models import ReplayModels, load_models
from failure_monitor.sources.source import Advance, BagOptions, SourceContents, SourceError
from failure_monitor.sources.truncated_mcap import TruncatedMcap

MEMORY = 2 << 30
"""Bytes that reading any bag may take, and `MEMORY_PER_BYTE` more for each on disk."""
MEMORY_PER_BYTE = 8
MEMORY_OF_MODELS = 16 << 30


class BagFolder:
    """A rosbag2 folder."""

    def recognises(self, path: Path) -> bool:
        """Whether the folder has a bag's metadata, or storage files that are called after it."""
        return is_bag_folder(path)

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """The bag's rollouts.

        Raises:
            SourceError: the bag is damaged or incomplete, lacks a topic, or holds no decision.
            PointCloudError: a message is no embedding or no batch of action chunks.
            UsageError: a topic has two meanings.
        """
        return _read(path, options, advance)


class BagFile:
    """A bare mcap or SQLite file, or a ROS 1 bag."""

    def recognises(self, path: Path) -> bool:
        """Whether the file's name ends as these do."""
        return is_bag_file(path)

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """The bag's rollouts; as of a `BagFolder`."""
        return _read(path, options, advance)


def bag_summary(path: Path) -> BagSummary:
    """What was recorded in the bag at a path.

    Raises:
        SourceError: it is damaged, or cannot be read.
    """
    with _errors_named(path, BagOptions()):
        return summary(bag_at(path))


def _read(path: Path, options: BagOptions, advance: Advance) -> SourceContents:
    models = load_models(options.black_box)
    meant = meanings(options, models)
    with _errors_named(path, options):
        bag = bag_at(path)
        topics = summary(bag).topics
        if not any(topic.messages for topic in topics):
            raise SourceError(f"{path} holds no messages: record it again or leave it out")
        recorded = _wanted(path, meant, topics)
        recording = BagRecording(options, models, recorded, MessageDecoder(ros1=is_ros1(bag)))
        # What models take is known to nobody, and nothing that a bag could claim.
        bound = MEMORY + MEMORY_PER_BYTE * bag.size + MEMORY_OF_MODELS * bool(models.encoder)
        with bounded_memory(bound):
            read_messages(bag, recording.takes(), advance)
            recording.finish()
        return rollouts_of(bag, recording, options, models)


def _wanted(path: Path, meant: Meanings, there: Sequence[TopicCount]) -> dict[str, TopicCount]:
    """The topics that are both wanted and there, by name."""
    names = {topic.name for topic in there}
    missing = [topic for topic in meant.needed if topic not in names]
    if missing:
        listed = ", ".join(f"{topic.name} ({topic.message_type})" for topic in there)
        raise SourceError(
            f"{path} has no topic {' and no '.join(missing)}, only {listed}: record what is "
            "missing, or name the topics under which it is"
        )
    wanted = [topic for topic in there if topic.name in meant.types]
    for topic in wanted:
        if topic.message_type not in meant.types[topic.name]:
            raise SourceError(
                f"{path}: {topic.name} is a {topic.message_type}, expected a "
                f"{' or '.join(meant.types[topic.name])}: name the right topic"
            )
    return {topic.name: topic for topic in wanted}


@contextmanager
def _errors_named(path: Path, options: BagOptions) -> Iterator[None]:
    """Say of anything that goes wrong in which bag it does, and what to do about it."""
    try:
        yield
    except FailureMonitorError:
        raise
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {_reason(error)}: leave it out") from None
    except MemoryError:
        raise SourceError(
            f"{path} would take more than {MEMORY >> 30} GiB and {MEMORY_PER_BYTE} times its size "
            "of memory to read, so one of the lengths in it must be wrong: record it again or "
            "leave it out"
        ) from None
    except Exception as error:  # a damaged bag fails in any of rosbags' parsers
        raise SourceError(
            f"{path}: the bag is damaged, or its recording was cut off ({_reason(error)}): "
            f"{_readable_part(path, options)}; record it again, leave it out, or mend it with "
            f"{_remedy(path)}"
        ) from None


def _files(path: Path) -> list[Path]:
    return storage_files(path) if path.is_dir() else [path]


def _readable_part(path: Path, options: BagOptions) -> str:
    decisions, seconds = 0, 0.0
    # Whatever lies behind the damage, of any sort, is not counted.
    with suppress(Exception), bounded_memory(MEMORY):
        for file in _files(path):
            readable = TruncatedMcap(file) if file.suffix == ".mcap" else file
            with open_storage(readable) as reader:
                recorded = {
                    connection.topic: TopicCount(connection.topic, connection.msgtype, 0)
                    for connection in reader.connections
                }
                decoder = MessageDecoder(ros1=file.suffix == ".bag")
                recording = BagRecording(options, ReplayModels(), recorded, decoder)
                try:
                    read_messages_from(reader, recording.takes())
                finally:
                    decisions += len(recording.completions)
                    seconds += recording.seconds
    if not decisions:
        return "no decision of it is readable"
    return f"it is readable until {seconds:.1f} s, {decisions} decisions"


def _remedy(path: Path) -> str:
    if path.suffix == ".bag" and path.is_file():
        return "'rosbag reindex'"
    for file in _files(path):
        try:
            refuse_cut_off(file)
        except DamagedBagError:
            return "'mcap recover'" if file.suffix == ".mcap" else "the '.recover' of sqlite3"
        except OSError:
            break
    return "'ros2 bag reindex'" if path.is_dir() else "'mcap recover'"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
