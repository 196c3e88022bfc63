# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads rollouts from bags: rosbag2 folders, bare mcap and SQLite files, ROS 1 bags.

A bag is read whole or rejected, since a part of a rollout would look like a short rollout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.bag_files import (
    COMPRESSIONS,
    bag_at,
    is_bag_file,
    is_bag_folder,
    reject_truncated,
    storage_files,
)
from failure_monitor.sources.bag_messages import BagSummary, open_bag, open_storage, unpacked
from failure_monitor.sources.bag_metadata import METADATA_FILE, TopicCount
from failure_monitor.sources.bag_recording import BagRecording, WantedTopics, wanted_topics
from failure_monitor.sources.bag_rollouts import rollouts_of
from failure_monitor.sources.memory_bound import bounded_memory
from failure_monitor.sources.message_decoder import MessageDecoder
from failure_monitor.sources.replay_models import ReplayModels, load_models
from failure_monitor.sources.source import Advance, BagOptions, SourceContents, SourceError
from failure_monitor.sources.storage import CDR, ROS1, DamagedBagError, UnsupportedBagError

MEMORY = 2 << 30
"""Bytes of memory that reading any bag may take, beside `MEMORY_PER_BYTE` for each on disk."""
MEMORY_PER_BYTE = 8
MEMORY_OF_MODELS = 16 << 30


class BagFolder:
    """A rosbag2 folder."""

    def recognises(self, path: Path) -> bool:
        """Return whether the folder has metadata of a bag, or storage files with its name."""
        return is_bag_folder(path)

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """Return the rollouts of the bag.

        Raises:
            SourceError: the bag is damaged or incomplete, lacks a topic, or holds no decision.
            PointCloudError: a message is no embedding or no batch of action chunks.
            UsageError: a topic has two wanted_topics.
        """
        return _read(path, options, advance)


class BagFile:
    """A bare mcap or SQLite file, or a ROS 1 bag."""

    def recognises(self, path: Path) -> bool:
        """Return whether the name of the file ends like that of a bag."""
        return is_bag_file(path)

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """Return the rollouts of the bag, as `BagFolder.read` does."""
        return _read(path, options, advance)


def bag_summary(path: Path) -> BagSummary:
    """Return the topics and the duration of the bag at a path.

    Raises:
        SourceError: It is damaged or cannot be read.
    """
    with _errors_named(path, BagOptions()):
        bag = bag_at(path)
        with bounded_memory(MEMORY + MEMORY_PER_BYTE * bag.size), open_bag(bag) as messages:
            return messages.summary()


def _read(path: Path, options: BagOptions, advance: Advance) -> SourceContents:
    models = load_models(options.black_box)
    wanted = wanted_topics(options, models)
    with _errors_named(path, options):
        bag = bag_at(path)
        # The memory that models need is unknown, and does not depend on what a bag claims.
        bound = MEMORY + MEMORY_PER_BYTE * bag.size + MEMORY_OF_MODELS * bool(models.encoder)
        with bounded_memory(bound), open_bag(bag) as messages:
            topics = messages.summary().topics
            if not any(topic.messages for topic in topics):
                raise SourceError(f"{path} holds no messages: record it again or leave it out")
            recorded = _recorded(path, wanted, topics)
            decoder = MessageDecoder(ros1=_are_ros1(recorded))
            recording = BagRecording(options, models, recorded, decoder)
            messages.read(recording.handlers(), advance)
        return rollouts_of(bag, recording, options, models)


def _are_ros1(recorded: Mapping[str, TopicCount]) -> bool:
    """Return whether the topics are serialised by ROS 1 instead of ROS 2."""
    by_ros1 = [topic.encoding == ROS1 for topic in recorded.values()]
    for topic in recorded.values():
        if topic.encoding not in (CDR, ROS1) or (topic.encoding == CDR and any(by_ros1)):
            raise UnsupportedBagError(
                f"{topic.name} is serialised as '{topic.encoding}', expected {CDR}, or {ROS1} "
                f"throughout: publish it as {topic.message_type or 'a ROS 2 message'} and record "
                "it with ros2 bag, or name another topic"
            )
    return any(by_ros1)


def _recorded(
    path: Path, wanted: WantedTopics, there: Sequence[TopicCount]
) -> dict[str, TopicCount]:
    """Return the wanted topics that were recorded, by name."""
    names = {topic.name for topic in there}
    missing = [topic for topic in wanted.needed if topic not in names]
    if missing:
        listed = ", ".join(f"{topic.name} ({topic.message_type})" for topic in there)
        models = ""
        if any(wanted.option[topic] == "--action-chunks-topic" for topic in missing):
            models = ", or give the exported models of a policy that published nothing"
            models += " (--encoder, --sampler)"
        raise SourceError(
            f"{path} has no topic {' and no '.join(missing)}, only {listed}: record what is "
            f"missing, or name the topics under which it was recorded{models}"
        )
    recorded = [topic for topic in there if topic.name in wanted.types]
    for topic in recorded:
        if topic.message_type not in wanted.types[topic.name]:
            option = wanted.option[topic.name]
            unless = "" if topic.name in wanted.needed else f", or none with {option} ''"
            raise SourceError(
                f"{path}: {topic.name} is a {topic.message_type or 'message of unknown type'}, "
                f"expected a {' or '.join(wanted.types[topic.name])}: name the right topic with "
                f"{option}{unless}"
            )
    return {topic.name: topic for topic in recorded}


@contextmanager
def _errors_named(path: Path, options: BagOptions) -> Iterator[None]:
    """Add the bag and a remedy to any error."""
    try:
        yield
    except UnsupportedBagError as error:
        raise SourceError(f"{path}: {error}") from None
    except FailureMonitorError:
        raise
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {_reason(error)}: leave it out") from None
    except MemoryError:
        raise SourceError(
            f"{path} needs more memory than {MEMORY >> 30} GiB and {MEMORY_PER_BYTE} times its "
            "size, so one of the lengths in it must be wrong: record it again or leave it out"
        ) from None
    except Exception as error:  # a damaged bag fails in any of rosbags' parsers
        raise SourceError(
            f"{path}: the bag is damaged, or its recording was cut off ({_reason(error)}): "
            f"{_readable_part(path, options)}; record it again, leave it out, or repair it with "
            f"{_remedy(path, error)}"
        ) from None


def _files(path: Path) -> list[Path]:
    return storage_files(path) if path.is_dir() else [path]


def _readable_part(path: Path, options: BagOptions) -> str:
    decisions, seconds = 0, 0.0
    # Only what precedes the damage is counted, whatever the damage is.
    with suppress(Exception), bounded_memory(MEMORY):
        for file in _files(path):
            with open_storage(file, is_cut_off=True) as storage:
                recorded = {
                    # How many messages there are is unknown; one at least, or the topic is no use.
                    channel.topic: TopicCount(channel.topic, channel.message_type, 1)
                    for channel in storage.channels
                }
                decoder = MessageDecoder(ros1=any(c.encoding == ROS1 for c in storage.channels))
                recording = BagRecording(options, ReplayModels(), recorded, decoder)
                handlers = recording.handlers()
                handler_of = {
                    channel.number: handlers[channel.topic]
                    for channel in storage.channels
                    if channel.topic in handlers
                }
                try:
                    for received, _, channel, data in unpacked(storage.messages(handler_of), None):
                        handler_of[channel](received, data)
                finally:
                    decisions += len(recording.completions)
                    seconds += recording.seconds
    if not decisions:
        return "no decision of it is readable"
    return f"it is readable until {seconds:.1f} s, {decisions} decisions"


def _remedy(path: Path, error: Exception) -> str:
    if path.suffix == ".bag" and path.is_file():
        return "'rosbag reindex'"
    if path.is_dir() and str(error).startswith(METADATA_FILE):
        return "'ros2 bag reindex'"
    file = next((file for file in _files(path) if _is_truncated(file)), _files(path)[0])
    unpack = f"'{COMPRESSIONS[file.suffix]} -d', then " if file.suffix in COMPRESSIONS else ""
    return unpack + ("the '.recover' of sqlite3" if ".db3" in file.name else "'mcap recover'")


def _is_truncated(file: Path) -> bool:
    try:
        reject_truncated(file)
    except DamagedBagError:
        return True
    except OSError:
        return False
    return False


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
