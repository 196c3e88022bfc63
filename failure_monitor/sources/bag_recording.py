# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bag's messages, put together to decisions.

An embedding and action chunks of the same header stamp are a decision; decisions are ordered by
that stamp. The time at which messages were received, bag time, tells when a decision was
complete, and so which rollout it belongs to and what else was known by then.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import UsageError
from failure_monitor.messages.measured_positions import (
    JOINT_STATE_TYPE,
    POSITION_TYPES,
    MeasuredPositions,
    Measurement,
    PositionsTopic,
    read_measurement,
)
from failure_monitor.messages.point_cloud import read_action_chunks, read_embedding
from failure_monitor.sources.bag_metadata import TopicCount
from failure_monitor.sources.message_decoder import (
    MessageDecoder,
    MessageHandler,
    StampedFloatsDecoder,
)
from failure_monitor.sources.replay_models import ReplayModels
from failure_monitor.sources.source import BagOptions, SourceError
from failure_monitor.sources.stamped_arrays import StampedArrays

if TYPE_CHECKING:
    from failure_monitor.messages.matching import MatchedMessages
    from failure_monitor.sources.observed_embeddings import ObservedEmbeddings

POINT_CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
BOOL_TYPE = "std_msgs/msg/Bool"
STRING_TYPE = "std_msgs/msg/String"
NUMBER_TYPES = ("std_msgs/msg/Float64", "std_msgs/msg/Float32")


OBSERVATIONS_KEPT = 64
"""Observations that wait for their action chunks, where the policy published these alone."""


class Meanings(NamedTuple):
    """What topics are read for.

    Attributes:
        types: of which of these types each topic must be.
        needed: the topics without which nothing can be read.
    """

    types: dict[str, tuple[str, ...]]
    needed: tuple[str, ...]


def meanings(options: BagOptions, models: ReplayModels) -> Meanings:
    """What the topics of a bag are read for.

    Raises:
        UsageError: a topic has two meanings.
    """
    topics, black_box = options.topics, options.black_box
    takes_joints = models.encoder is not None and bool(models.encoder.joint_names)
    # What the encoder takes for joints may be measured positions as well.
    shares_joints = takes_joints and black_box.joints == topics.positions
    needed: list[tuple[str, tuple[str, ...]]] = [
        (topics.positions, (JOINT_STATE_TYPE,) if shares_joints else POSITION_TYPES),
        *((topic, NUMBER_TYPES) for topic in topics.external.values()),
    ]
    if models.encoder is None:
        needed.append((topics.embedding, (POINT_CLOUD_TYPE,)))
    needed += [(topic, IMAGE_TYPES) for topic in black_box.cameras.values()]
    if takes_joints and not shares_joints:
        needed.append((black_box.joints, (JOINT_STATE_TYPE,)))
    if models.sampler is None:
        needed.append((topics.action_chunks, (POINT_CLOUD_TYPE,)))
    said = [
        (topics.success, (BOOL_TYPE,), options.boundaries == "outcomes"),
        (topics.active, (BOOL_TYPE,), options.boundaries == "markers"),
        (topics.group, (STRING_TYPE,), False),
        (topics.task, (STRING_TYPE,), False),
    ]
    types: dict[str, tuple[str, ...]] = {}
    for topic, its_types in (*needed, *((topic, its_types) for topic, its_types, _ in said)):
        if topic in types:
            raise UsageError(f"the topic {topic} has two meanings: name another for one of them")
        if topic:
            types[topic] = its_types
    asked = [topic for topic, _ in needed] + [topic for topic, _, is_needed in said if is_needed]
    return Meanings(types, tuple(filter(None, asked)))


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


class BagRecording:
    """Takes a bag's messages in the order in which they were received.

    Attributes:
        embeddings: float32 (E,) each.
        chunks: float32 (B, H, D) each.
        completions: of the decisions of which both are there, by stamp in nanoseconds.
        action_names: of the D action dimensions; empty before the first action chunks.
        markers: when and whether a rollout was said to run.
        outcomes: when and what was said of success.
        groups: when and what was said of the group.
        tasks: when and what was said of the task.
        repeated: how many messages had a stamp that their topic had already used.
    """

    def __init__(
        self,
        options: BagOptions,
        models: ReplayModels,
        recorded: Mapping[str, TopicCount],
        decoder: MessageDecoder,
    ) -> None:
        """Begin with nothing.

        Args:
            options: which topic means what.
            models: stand in for what was not recorded.
            recorded: of those topics, what the bag has.
            decoder: how the messages are serialised.
        """
        counts = {name: topic.messages for name, topic in recorded.items()}
        types = {name: topic.message_type for name, topic in recorded.items()}
        self.embeddings = StampedArrays(counts.get(options.topics.embedding, 0))
        self.chunks = StampedArrays(counts.get(options.topics.action_chunks, 0))
        self.completions: dict[int, Completion] = {}
        self.action_names: tuple[str, ...] = ()
        self.markers: list[tuple[int, bool]] = []
        self.outcomes: list[tuple[int, bool]] = []
        self.groups: list[tuple[int, str]] = []
        self.tasks: list[tuple[int, str]] = []
        self.repeated = 0
        self._options = options
        self._models = models
        self._types = types
        self._decoder = decoder
        self._embedding_floats = StampedFloatsDecoder(decoder, POINT_CLOUD_TYPE, _pick_embedding)
        self._chunk_floats = StampedFloatsDecoder(decoder, POINT_CLOUD_TYPE, _pick_chunks)
        self._external = dict.fromkeys(options.topics.external, math.nan)
        topic = options.topics.positions
        self._positions = _positions_on(topic, types[topic], decoder) if topic in types else None
        self._waiting: OrderedDict[int, MatchedMessages] = OrderedDict()
        self._observed: ObservedEmbeddings | None = None
        if models.encoder is not None:
            # Here, as OpenCV is needed for nothing else.
            from failure_monitor.sources.observed_embeddings import ObservedEmbeddings

            self._observed = ObservedEmbeddings(models.encoder, options.black_box, types, decoder)
            self.embeddings = self._observed.embeddings
        if models.sampler is not None:
            self.action_names = models.sampler.action_names

    def takes(self) -> dict[str, MessageHandler]:
        """What takes the messages of each topic that the bag has.

        They raise a FailureMonitorError or a UndecodableError.
        """
        topics = self._options.topics
        takes: dict[str, MessageHandler] = {
            topics.success: self._saying(topics.success, self.outcomes, bool),
            topics.active: self._take_marker,
            topics.group: self._saying(topics.group, self.groups, str),
            topics.task: self._saying(topics.task, self.tasks, str),
            **{topic: self._external_value(name) for name, topic in topics.external.items()},
        }
        if self._models.sampler is None:
            takes[topics.action_chunks] = self._take_chunks
        if self._observed is None:
            takes[topics.embedding] = self._take_embedding
        else:
            takes |= self._observed.takes(self._take_observation)
        if self._positions is not None:
            first = takes.get(topics.positions)
            takes[topics.positions] = self._take_positions(self._positions, first)
        return {topic: take for topic, take in takes.items() if topic in self._types}

    def finish(self) -> None:
        """Compute what is still to be computed, when there are no more messages.

        Raises:
            OnnxModelError: the encoder failed.
        """
        if self._observed is not None:
            self._observed.flush()

    @property
    def seconds(self) -> float:
        """From the first message to the last, of decisions and what was said of their rollouts."""
        times = [completion.received for completion in self.completions.values()]
        times += [time for time, _ in (*self.markers, *self.outcomes)]
        return 1e-9 * (max(times) - min(times)) if times else 0.0

    @property
    def unpaired(self) -> int:
        """How many embeddings and action chunks have no partner of the same stamp."""
        return len((self.embeddings.stamps() | self.chunks.stamps()) - self.completions.keys())

    def problems(self) -> list[str]:
        """What was lost of observations, and what to do about it."""
        return [] if self._observed is None else self._observed.problems()

    def _saying(self, topic: str, said: list[tuple[int, Any]], kind: type) -> MessageHandler:
        def take(received: int, serialised: bytes) -> None:
            message = self._decoder.decode(serialised, self._types[topic])
            said.append((received, kind(message.data)))

        return take

    def _take_positions(
        self, positions: MeasuredPositions[bytes], also: MessageHandler | None
    ) -> MessageHandler:
        def take(received: int, serialised: bytes) -> None:
            positions.add(serialised)
            if also is not None:
                also(received, serialised)

        return take

    def _take_marker(self, received: int, serialised: bytes) -> None:
        running = bool(self._decoder.decode(serialised, BOOL_TYPE).data)
        was_running = bool(self.markers) and self.markers[-1][1]
        if running and not was_running and self._observed is not None and self._follows_markers:
            self._observed.start_rollout()
        self.markers.append((received, running))

    @property
    def _follows_markers(self) -> bool:
        return self._options.boundaries in ("auto", "markers")

    def _external_value(self, name: str) -> MessageHandler:
        topic = self._options.topics.external[name]

        def take(received: int, serialised: bytes) -> None:
            self._external[name] = float(self._decoder.decode(serialised, self._types[topic]).data)

        return take

    def _take_embedding(self, received: int, serialised: bytes) -> None:
        stamp, embedding, _ = self._embedding_floats.decode(serialised)
        self._keep(self.embeddings, stamp, embedding)
        if stamp in self.chunks or self._models.sampler is not None:
            self._complete(stamp, received)

    def _take_observation(self, matched: MatchedMessages, received: int) -> None:
        stamp = matched.stamp
        if self._models.sampler is None and stamp not in self.chunks:
            self._waiting[stamp] = matched
            if len(self._waiting) > OBSERVATIONS_KEPT:
                self._waiting.popitem(last=False)
        elif self._models.sampler is None or self._is_decision(stamp):
            self._embed(matched, received)

    def _is_decision(self, stamp: int) -> bool:
        """Whether the sampler is to be run on an observation: between rollouts it is not."""
        if self._follows_markers and self.markers and not self.markers[-1][1]:
            return False
        return self._observed is not None and self._observed.is_due(stamp)

    def _embed(self, matched: MatchedMessages, received: int) -> None:
        if self._observed is not None:
            self._observed.embed(matched)
            self._complete(matched.stamp, received)

    def _take_chunks(self, received: int, serialised: bytes) -> None:
        stamp, chunks, names = self._chunk_floats.decode(serialised)
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
        elif stamp in self._waiting:
            self._embed(self._waiting.pop(stamp), received)

    def _keep(self, halves: StampedArrays, stamp: int, values: NDArray[np.float32]) -> None:
        if halves and values.shape != halves.shape:
            raise SourceError(
                f"the shape is {values.shape}, before it was {halves.shape}: record one policy per "
                "bag"
            )
        if stamp not in halves:
            halves.add(stamp, values)
        elif stamp == 0:
            raise SourceError("the header has no stamp: publish with the stamp of the observation")
        else:
            self.repeated += 1

    @property
    def positions_topic(self) -> PositionsTopic | None:
        """What measured the positions; None where nobody asked for them."""
        topic = self._options.topics.positions
        for known in POSITION_TYPES:
            if self._types.get(topic) == known:
                joints = self._measured_names if known == JOINT_STATE_TYPE else ()
                return PositionsTopic(topic, known, joints)
        return None

    @property
    def _measured_names(self) -> tuple[str, ...]:
        """The joints that the position actions move."""
        options, sampler = self._options, self._models.sampler
        said = () if sampler is None else sampler.contract.position_names
        return options.measured_names or options.position_names or said or self.action_names

    def _complete(self, stamp: int, received: int) -> None:
        if stamp in self.completions:
            return
        positions = None
        if self._positions is not None:
            positions = self._positions.at(stamp, self._measured_names)
        self.completions[stamp] = Completion(received, positions, tuple(self._external.values()))


def _positions_on(
    topic: str, message_type: str, decoder: MessageDecoder
) -> MeasuredPositions[bytes]:
    floats = StampedFloatsDecoder(decoder, message_type, _pick_positions)

    def read(serialised: bytes) -> Measurement:
        _, positions, names = floats.decode(serialised)
        return Measurement(names, positions)

    def stamp_of(serialised: bytes) -> int:
        return decoder.decode_stamp(serialised, message_type)

    return MeasuredPositions(topic, stamp_of=stamp_of, read=read)


def _pick_embedding(message: Any) -> tuple[NDArray[np.float32], None]:
    return read_embedding(message), None


def _pick_positions(message: Any) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    measurement = read_measurement(message)
    return measurement.positions, measurement.names


def _pick_chunks(message: Any) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    names, chunks = read_action_chunks(message)
    return chunks, names
