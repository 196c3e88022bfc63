# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts from rosbag2 folders (mcap or SQLite): one bag, one rollout.

A bag is read whole or refused: half a rollout would pass for a short one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from failure_monitor.decision import Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.cut_mcap import close_cut_mcap
from failure_monitor.sources.recording import BOOL_TYPE, POINT_CLOUD_TYPE, Recording
from failure_monitor.sources.source import SourceContents, SourceError, Topics
from failure_monitor.sources.storage import (
    DamagedStorageError,
    refuse_cut_off,
    storage_files,
    storage_sha256,
)

METADATA_FILE = "metadata.yaml"


class BagFolder:
    """A rosbag2 folder that holds one rollout."""

    def recognises(self, path: Path) -> bool:
        """Whether the folder has a bag's metadata or storage files."""
        return path.is_dir() and ((path / METADATA_FILE).exists() or bool(storage_files(path)))

    def read(self, path: Path, topics: Topics) -> SourceContents:
        """The bag's rollout.

        Raises:
            SourceError: the bag is damaged or incomplete, lacks a topic, holds no decision or
                more than one rollout.
            PointCloudError: a message is no embedding or no batch of action chunks.
        """
        recording = _read_whole(path, topics)
        stamps = recording.stamps_while_active()
        if not stamps:
            raise SourceError(_why_no_decision(path, topics, recording))
        recording.warn_of_losses()
        rollout = Rollout(
            name=path.resolve().name,
            stamps=1e-9 * np.array(stamps, dtype=np.float64),
            embeddings=np.stack([recording.embeddings[stamp].values for stamp in stamps]),
            chunks=np.stack([recording.chunks[stamp].values for stamp in stamps]),
            success=recording.outcome(),
            source=str(path),
            sha256=storage_sha256(path),
        )
        return SourceContents((rollout,), recording.action_names)


def _read_whole(path: Path, topics: Topics) -> Recording:
    recording = Recording(path, topics)
    try:
        _refuse_incomplete_files(path)
        with Reader(path) as reader:
            if reader.message_count == 0:
                raise SourceError(f"{path} holds no messages: record it again or leave it out")
            connections = _needed(path, topics, reader.connections)
            _take_messages(reader, connections, recording)
            _refuse_missing_messages(connections, recording)
    except FailureMonitorError:
        raise
    except Exception as error:  # a damaged bag fails in any of rosbags' parsers
        raise SourceError(
            f"{path}: the bag is damaged, or its recording was cut off ({_reason(error)}): "
            f"{_readable_part(path, topics)}; record it again, leave it out, or mend it with "
            f"{_remedy(path)}"
        ) from None
    return recording


def _refuse_incomplete_files(path: Path) -> None:
    if not (path / METADATA_FILE).exists():
        raise DamagedStorageError(f"{METADATA_FILE} is missing")
    for storage in storage_files(path):
        refuse_cut_off(storage)


def _needed(path: Path, topics: Topics, connections: Sequence[Connection]) -> list[Connection]:
    types = {
        topics.embedding: POINT_CLOUD_TYPE,
        topics.action_chunks: POINT_CLOUD_TYPE,
        topics.success: BOOL_TYPE,
        topics.active: BOOL_TYPE,
    }
    there = {connection.topic for connection in connections}
    missing = [t for t in (topics.embedding, topics.action_chunks) if t not in there]
    if missing:
        listed = ", ".join(sorted(f"{c.topic} ({c.msgtype})" for c in connections))
        raise SourceError(
            f"{path} has no topic {' and no '.join(missing)}, only {listed}: record the policy's "
            "embeddings and action chunks, or name the topics under which they are"
        )
    for connection in connections:
        expected = types.get(connection.topic, connection.msgtype)
        if connection.msgtype != expected:
            raise SourceError(
                f"{path}: {connection.topic} is a {connection.msgtype}, expected a {expected}: "
                "name the right topic"
            )
    return [connection for connection in connections if connection.topic in types]


def _take_messages(reader: Reader, connections: Sequence[Connection], into: Recording) -> None:
    for connection, received, serialised in reader.messages(connections):
        into.take(connection.topic, received, serialised)


def _refuse_missing_messages(connections: Sequence[Connection], recording: Recording) -> None:
    for topic in {connection.topic for connection in connections}:
        expected = sum(c.msgcount for c in connections if c.topic == topic)
        if recording.count(topic) != expected:
            raise DamagedStorageError(
                f"{METADATA_FILE} counts {expected} messages on {topic}, the storage holds "
                f"{recording.count(topic)}"
            )


def _readable_part(path: Path, topics: Topics) -> str:
    recording = Recording(path, topics)
    # Whatever lies behind the damage, of any sort, is not counted.
    with suppress(Exception), TemporaryDirectory() as folder:
        for storage in storage_files(path):
            readable = storage
            if storage.suffix == ".mcap":
                readable = Path(folder) / storage.name
                close_cut_mcap(storage, readable)
            with Reader(readable) as reader:
                _take_messages(reader, _needed(path, topics, reader.connections), recording)
    decisions = len(recording.stamps)
    if not decisions:
        return "no decision of it is readable"
    return f"it is readable until {recording.seconds:.1f} s, {decisions} decisions"


def _remedy(path: Path) -> str:
    try:
        for storage in storage_files(path):
            refuse_cut_off(storage)
    except DamagedStorageError:
        return "'mcap recover'" if storage.suffix == ".mcap" else "the '.recover' of sqlite3"
    return "'ros2 bag reindex'"


def _why_no_decision(path: Path, topics: Topics, recording: Recording) -> str:
    for topic in (topics.embedding, topics.action_chunks):
        if recording.count(topic) == 0:
            return (
                f"{path} has no message on {topic}: check that the policy published there while "
                "the bag was recorded, or leave the bag out"
            )
    if not recording.stamps:
        return (
            f"{path}: no message on {topics.embedding} has the header stamp of one on "
            f"{topics.action_chunks}: publish both with the stamp of the observation"
        )
    return (
        f"{path}: none of its {len(recording.stamps)} decisions was received while "
        f"{topics.active} was true: record from before the rollout's begin, or leave the bag out"
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
