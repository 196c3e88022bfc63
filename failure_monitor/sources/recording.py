# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bag's messages, put together to decisions.

An embedding and action chunks of the same header stamp are a decision; decisions are ordered by
that stamp. The time at which messages were received, bag time, tells when a decision was
complete, and so which rollout it belongs to and what else was known by then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import UsageError
from failure_monitor.point_cloud import read_action_chunks, read_embedding
from failure_monitor.sources.measured_positions import POSITION_TYPES, MeasuredPositions
from failure_monitor.sources.source import BagOptions, SourceError, Topics
from failure_monitor.sources.wire import StampedFloats, Take, Wire

POINT_CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
BOOL_TYPE = "std_msgs/msg/Bool"
STRING_TYPE = "std_msgs/msg/String"
NUMBER_TYPES = ("std_msgs/msg/Float64", "std_msgs/msg/Float32")


def expected_types(topics: Topics) -> dict[str, tuple[str, ...]]:
    """The topics that are read, and of which of these types each must be.

    Raises:
        UsageError: a topic has two meanings.
    """
    meanings = [
        (topics.embedding, (POINT_CLOUD_TYPE,)),
        (topics.action_chunks, (POINT_CLOUD_TYPE,)),
        (topics.success, (BOOL_TYPE,)),
        (topics.active, (BOOL_TYPE,)),
        (topics.group, (STRING_TYPE,)),
        (topics.task, (STRING_TYPE,)),
        (topics.positions, POSITION_TYPES),
        *((topic, NUMBER_TYPES) for topic in topics.external.values()),
    ]
    counts = Counter(topic for topic, _ in meanings if topic)
    twice = [topic for topic, count in counts.items() if count > 1]
    if twice:
        raise UsageError(f"the topic {twice[0]} has two meanings: name another for one of them")
    return {topic: types for topic, types in meanings if topic}


class Completion(NamedTuple):
    """The moment at which a decision was complete.

    Attributes:
        received: when its second half was received (ns).
        positions: where the robot was, (P,); None where nobody asks.
        external: the newest values of the external scores; NaN where there was none yet.
    """

    received: int
    positions: NDArray[np.float64] | None
    external: tuple[float, ...]


class Recording:
    """Takes a bag's messages in the order in which they were received.

    Attributes:
        embeddings: float32 (E,) each, views on messages, by stamp in nanoseconds.
        chunks: float32 (B, H, D) each, likewise.
        completions: of the decisions of which both are there, likewise.
        action_names: of the D action dimensions; empty before the first action chunks.
        markers: when and whether a rollout was said to run.
        outcomes: when and what was said of success.
        groups: when and what was said of the group.
        tasks: when and what was said of the task.
        repeated: how many messages had a stamp that their topic had already used.
    """

    def __init__(self, options: BagOptions, types: Mapping[str, str], wire: Wire) -> None:
        """Begin with nothing.

        Args:
            options: which topic means what.
            types: the types of the topics that the bag has of those.
            wire: how the messages are serialised.
        """
        self.embeddings: dict[int, NDArray[np.float32]] = {}
        self.chunks: dict[int, NDArray[np.float32]] = {}
        self.completions: dict[int, Completion] = {}
        self.action_names: tuple[str, ...] = ()
        self.markers: list[tuple[int, bool]] = []
        self.outcomes: list[tuple[int, bool]] = []
        self.groups: list[tuple[int, str]] = []
        self.tasks: list[tuple[int, str]] = []
        self.repeated = 0
        self._options = options
        self._types = types
        self._wire = wire
        self._embedding_floats = StampedFloats(wire, POINT_CLOUD_TYPE, _pick_embedding)
        self._chunk_floats = StampedFloats(wire, POINT_CLOUD_TYPE, _pick_chunks)
        self._external = dict.fromkeys(options.topics.external, math.nan)
        topic = options.topics.positions
        self._positions = MeasuredPositions(wire, topic, types[topic]) if topic in types else None

    def takes(self) -> dict[str, Take]:
        """What takes the messages of each topic that the bag has.

        They raise a FailureMonitorError or a WireError.
        """
        topics = self._options.topics
        takes: dict[str, Take] = {
            topics.embedding: self._take_embedding,
            topics.action_chunks: self._take_chunks,
            topics.success: self._saying(topics.success, self.outcomes, bool),
            topics.active: self._saying(topics.active, self.markers, bool),
            topics.group: self._saying(topics.group, self.groups, str),
            topics.task: self._saying(topics.task, self.tasks, str),
            **{topic: self._external_value(name) for name, topic in topics.external.items()},
        }
        if self._positions is not None:
            takes[topics.positions] = self._positions.take
        return {topic: take for topic, take in takes.items() if topic in self._types}

    @property
    def seconds(self) -> float:
        """From the first message to the last, of decisions and what was said of their rollouts."""
        times = [completion.received for completion in self.completions.values()]
        times += [time for time, _ in (*self.markers, *self.outcomes)]
        return 1e-9 * (max(times) - min(times)) if times else 0.0

    @property
    def unpaired(self) -> int:
        """How many messages have no partner of the same stamp."""
        return len(self.embeddings.keys() ^ self.chunks.keys())

    def _saying(self, topic: str, said: list[tuple[int, Any]], kind: type) -> Take:
        def take(received: int, serialised: bytes) -> None:
            message = self._wire.message(serialised, self._types[topic])
            said.append((received, kind(message.data)))

        return take

    def _external_value(self, name: str) -> Take:
        topic = self._options.topics.external[name]

        def take(received: int, serialised: bytes) -> None:
            self._external[name] = float(self._wire.message(serialised, self._types[topic]).data)

        return take

    def _take_embedding(self, received: int, serialised: bytes) -> None:
        stamp, embedding, _ = self._embedding_floats.read(serialised)
        self._keep(self.embeddings, stamp, embedding)
        if stamp in self.chunks:
            self._complete(stamp, received)

    def _take_chunks(self, received: int, serialised: bytes) -> None:
        stamp, chunks, names = self._chunk_floats.read(serialised)
        if names != self.action_names:
            if self.action_names:
                raise SourceError(
                    f"the actions are {list(names)}, before they were {list(self.action_names)}: "
                    "record one policy per bag"
                )
            self.action_names = names
        self._keep(self.chunks, stamp, chunks)
        if stamp in self.embeddings:
            self._complete(stamp, received)

    def _keep(
        self, halves: dict[int, NDArray[np.float32]], stamp: int, values: NDArray[np.float32]
    ) -> None:
        first = next(iter(halves.values()), values)
        if values.shape != first.shape:
            raise SourceError(
                f"the shape is {values.shape}, before it was {first.shape}: record one policy per "
                "bag"
            )
        if stamp not in halves:
            halves[stamp] = values
        elif stamp == 0:
            raise SourceError("the header has no stamp: publish with the stamp of the observation")
        else:
            self.repeated += 1

    def _complete(self, stamp: int, received: int) -> None:
        if stamp in self.completions:
            return
        positions = None
        if self._positions is not None:
            options = self._options
            names = options.measured_names or options.position_names or self.action_names
            positions = self._positions.at(stamp, names)
        self.completions[stamp] = Completion(received, positions, tuple(self._external.values()))


def _pick_embedding(message: Any) -> tuple[NDArray[np.float32], None]:
    return read_embedding(message), None


def _pick_chunks(message: Any) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    names, chunks = read_action_chunks(message)
    return chunks, names
