# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Combines the messages of a bag to decisions.

An embedding and action chunks of the same header stamp are a decision; where no embeddings were
recorded, action chunks alone are. Decisions are ordered by that stamp. Bag time, at which messages
were received, states when a decision was complete. From that follow the rollout it belongs to and
the other values that were known by then.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.joint_motion import JointMotion
from failure_monitor.messages.joint_intervals import JointIntervals, JointTopic
from failure_monitor.messages.measured_positions import (
    JOINT_STATE_TYPE,
    POSITION_TYPES,
    MeasuredPositions,
    Measurement,
    PositionsTopic,
    read_measurement,
)
from failure_monitor.messages.point_cloud import read_action_chunks, read_embedding, read_tokens
from failure_monitor.messages.sent_commands import SENT_TYPES, SentCommands
from failure_monitor.messages.teleoperation import (
    NUMBERS,
    USUAL_DEAD_BAND,
    USUAL_LASTING,
    is_active,
)
from failure_monitor.parameters.topics import external_topic
from failure_monitor.policy_description import PolicyDescription, PolicyDescriptionError
from failure_monitor.sources.bag_metadata import TopicCount
from failure_monitor.sources.joint_state_decoder import JointStateDecoder
from failure_monitor.sources.message_decoder import (
    MessageDecoder,
    MessageFaultError,
    MessageHandler,
    StampedFloatsDecoder,
    UndecodableError,
)
from failure_monitor.sources.replay_models import ReplayModels
from failure_monitor.sources.set_back_clock import CLOCK_JUMP, ReceivedStamps
from failure_monitor.sources.source import BagOptions, SourceError, Topics
from failure_monitor.sources.stamped_arrays import StampedArrays

if TYPE_CHECKING:
    from failure_monitor.messages.matching import MatchedMessages
    from failure_monitor.sources.observed_embeddings import ObservedEmbeddings
    from failure_monitor.sources.sampled_chunks import ChunkSampling

POINT_CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
BOOL_TYPE = "std_msgs/msg/Bool"
STRING_TYPE = "std_msgs/msg/String"
NUMBER_TYPES = ("std_msgs/msg/Float64", "std_msgs/msg/Float32")

Numbered = tuple[int, bytes]
"""The number of a message on its topic, and its bytes."""

MAX_WAITING_OBSERVATIONS = 64
"""Maximum number of observations that wait for their action chunks."""


class WantedTopics(NamedTuple):
    """The topics that are read.

    Attributes:
        types: The possible message types of each topic.
        needed: The topics without which a bag cannot be read.
        option: The option that names each topic.
    """

    types: dict[str, tuple[str, ...]]
    needed: tuple[str, ...]
    option: dict[str, str]


def wanted_topics(options: BagOptions, models: ReplayModels) -> WantedTopics:
    """Return the topics that are read.

    Raises:
        UsageError: a topic has two meanings, or the embeddings that a sampler takes have none.
    """
    topics, black_box = options.topics, options.black_box
    if models.encoder is None and models.sampler is not None and not topics.embedding:
        raise UsageError(
            "a sampler takes embeddings, and '--embedding-topic' is empty: name their topic, or "
            "the encoder that computes them (--encoder)"
        )
    needs_joints = models.encoder is not None and bool(models.encoder.joint_names)
    if needs_joints and not black_box.joints:
        raise UsageError("the encoder takes joints: name their topic, --joint-states-topic TOPIC")
    joints = [*topics.more_joints, *([black_box.joints] if needs_joints else [])]
    needed: list[tuple[str, tuple[str, ...]]] = [
        (topics.positions, (JOINT_STATE_TYPE,) if topics.positions in joints else POSITION_TYPES),
        *((topic, NUMBER_TYPES) for topic in topics.external.values()),
    ]
    embedding = (topics.embedding, (POINT_CLOUD_TYPE,))
    needs_embedding = _needs_embedding(topics.embedding, models)
    needed += [embedding] if needs_embedding else []
    needed += [(topic, IMAGE_TYPES) for topic in black_box.cameras.values()]
    # Joint states may be measured positions as well.
    needed += [(topic, (JOINT_STATE_TYPE,)) for topic in joints if topic != topics.positions]
    needed.append((topics.commands, SENT_TYPES))
    if models.sampler is None:
        needed.append((topics.action_chunks, (POINT_CLOUD_TYPE,)))
    statements = [
        (topics.success, (BOOL_TYPE,), options.boundaries == "outcomes"),
        (topics.label, (BOOL_TYPE,), False),
        (topics.intervention, (BOOL_TYPE, *NUMBERS), False),
        (topics.active, (BOOL_TYPE, STRING_TYPE), options.boundaries == "markers"),
        (topics.format, (STRING_TYPE,), False),
        (topics.group, (STRING_TYPE,), False),
        (topics.task, (STRING_TYPE,), False),
        (topics.tokens, (POINT_CLOUD_TYPE,), False),
        (topics.judge, NUMBER_TYPES, False),
    ]
    if black_box.joints not in (*joints, topics.positions):
        statements.append((black_box.joints, (JOINT_STATE_TYPE,), False))
    if models.encoder is None and not needs_embedding:
        statements.append((*embedding, False))
    types: dict[str, tuple[str, ...]] = {}
    for topic, its_types in (*needed, *((topic, its_types) for topic, its_types, _ in statements)):
        if topic in types:
            raise UsageError(f"the topic {topic} has two meanings: name another for one of them")
        if topic:
            types[topic] = its_types
    names = [topic for topic, _ in needed]
    names += [topic for topic, _, is_needed in statements if is_needed]
    option = {
        topics.positions: "--positions-topic",
        **dict.fromkeys(topics.external.values(), "--external"),
        **dict.fromkeys(black_box.cameras.values(), "--image-topic"),
        **dict.fromkeys(topics.more_joints, "--more-joint-states-topics"),
        topics.commands: "--commands-topic",
        black_box.joints: "--joint-states-topic",
        topics.embedding: "--embedding-topic",
        topics.action_chunks: "--action-chunks-topic",
        topics.format: "--format-topic",
        topics.success: "--success-topic",
        topics.label: "--label-topic",
        topics.intervention: "--intervention-topic",
        topics.active: "--active-topic",
        topics.group: "--group-topic",
        topics.task: "--task-topic",
        topics.tokens: "--tokens-topic",
        topics.judge: "--judge-topic",
    }
    return WantedTopics(types, tuple(filter(None, names)), option)


def _needs_embedding(topic: str, models: ReplayModels) -> bool:
    """Return whether a bag must have the topic of embeddings.

    Action chunks alone are decisions, too; but a sampler has nothing else to start from, and who
    names a topic wants it.
    """
    return models.encoder is None and (models.sampler is not None or topic != Topics().embedding)


class Completion(NamedTuple):
    """The moment at which a decision was complete.

    Attributes:
        received: The bag time at which the last of its messages was received (ns).
        positions: The measured positions of the robot, (P,); None if none are read.
        joints: What the joints did since the decision before; None if no joint states are read.
        external: The newest values of the external scores; NaN before the first one.
    """

    received: int
    positions: NDArray[np.float64] | None
    joints: JointMotion | None
    external: tuple[float, ...]


class BagRecording:
    """The content of a bag, built up from its messages in the order of their reception.

    Attributes:
        has_embeddings: Whether decisions have embeddings: recorded ones, or those of the encoder.
        embeddings: The embeddings, float32 (E,) each.
        chunks: The action chunks, float32 (B, H, D) each.
        tokens: The tokens of the policy's network, float32 (N, F) each.
        completions: The completions of decisions, by stamp in nanoseconds.
        action_names: The names of the D action dimensions; empty before the first action chunks.
        descriptions: The bag times and values of what the policy stated about itself.
        markers: The bag times and values of markers, which are true while a rollout runs.
        outcomes: The bag times and values of outcomes.
        labels: The bag times and values of what an operator said of rollouts.
        judged: The bag times and values of an outside judge's numbers.
        interventions: The bag times at which it was said that a human intervenes, or not; None if
            the bag does not say.
        groups: The bag times and values of groups.
        tasks: The bag times and values of tasks.
        repeated: The number of messages whose stamp their topic had already used.
        stamps: The stamps of what makes decisions, by topic.
        sampling: Has sampled the action chunks while the bag was read; None if they were recorded,
            or can be sampled of the embeddings.
        encoded_tasks: The task that was known when each observation was embedded, by its stamp;
            empty if the encoder does not depend on it.
    """

    def __init__(
        self,
        options: BagOptions,
        models: ReplayModels,
        recorded: Mapping[str, TopicCount],
        decoder: MessageDecoder,
    ) -> None:
        """Start without a message.

        Args:
            options: The topics, and how they are read.
            models: The models that compute what was not recorded.
            recorded: Those of the topics that the bag has.
            decoder: Decodes messages.
        """
        counts = {name: topic.messages for name, topic in recorded.items()}
        types = {name: topic.message_type for name, topic in recorded.items()}
        self.embeddings = StampedArrays(counts.get(options.topics.embedding, 0))
        self.chunks = StampedArrays(counts.get(options.topics.action_chunks, 0))
        self.tokens = StampedArrays(counts.get(options.topics.tokens, 0))
        self.completions: dict[int, Completion] = {}
        self.action_names: tuple[str, ...] = ()
        self.descriptions: list[tuple[int, PolicyDescription]] = []
        self.markers: list[tuple[int, bool]] = []
        self.outcomes: list[tuple[int, bool]] = []
        self.labels: list[tuple[int, bool]] = []
        self.judged: list[tuple[int, float]] = []
        says = options.topics.intervention in types
        self.interventions: list[tuple[int, bool]] | None = [] if says else None
        self.groups: list[tuple[int, str]] = []
        self.tasks: list[tuple[int, str]] = []
        self._marked_task = ""
        self.repeated = 0
        # A tap that was never given an embedding leaves a topic without a message.
        self.has_embeddings = models.encoder is not None or bool(
            counts.get(options.topics.embedding)
        )
        self.stamps = {options.topics.action_chunks: ReceivedStamps()}
        if self.has_embeddings:
            self.stamps = {options.topics.embedding: ReceivedStamps(), **self.stamps}
        self._options = options
        self._models = models
        self._types = types
        self._decoder = decoder
        self._embedding_floats = StampedFloatsDecoder(
            decoder, POINT_CLOUD_TYPE, _extract_embedding
        )
        self._chunk_floats = StampedFloatsDecoder(decoder, POINT_CLOUD_TYPE, _extract_chunks)
        self._token_floats = StampedFloatsDecoder(decoder, POINT_CLOUD_TYPE, _extract_tokens)
        self._external = dict.fromkeys(options.topics.external, math.nan)
        self._fresh: set[str] = set()
        self._with_chunks: dict[int, dict[str, float]] = {}
        topic = options.topics.positions
        self._positions = _positions_on(topic, types[topic], decoder) if topic in types else None
        joints = dict.fromkeys((options.black_box.joints, *options.topics.more_joints))
        self._joints = JointIntervals([t for t in joints if types.get(t) == JOINT_STATE_TYPE])
        sent = options.topics.commands
        self._commands = SentCommands(sent) if sent in types else None
        if self._commands is not None and not self._joints.topics:
            raise SourceError(
                f"it has the commands on {sent} (--commands-topic), but no joint states that "
                "answer to them: name their topic (--joint-states-topic), or leave the commands "
                "out"
            )
        self._waiting: OrderedDict[int, MatchedMessages] = OrderedDict()
        self._observed: ObservedEmbeddings | None = None
        if models.encoder is not None:
            # Imported here: only the encoder needs OpenCV.
            from failure_monitor.sources.observed_embeddings import ObservedEmbeddings

            self._observed = ObservedEmbeddings(models.encoder, options.black_box, types, decoder)
            self.embeddings = self._observed.embeddings
            self.stamps |= self._observed.stamps
        self.sampling: ChunkSampling | None = None
        self.encoded_tasks: dict[int, str] = {}
        if models.sampler is not None:
            self.action_names = models.sampler.action_names
            if models.sampler.conditioning:
                from failure_monitor.sources.sampled_chunks import ChunkSampling

                self.sampling = ChunkSampling(models.sampler, options)

    def handlers(self) -> dict[str, MessageHandler]:
        """Return the handler of each topic that the bag has.

        Handlers raise a FailureMonitorError or an UndecodableError.
        """
        topics = self._options.topics
        handlers: dict[str, MessageHandler] = {
            topics.success: self._statement_handler(topics.success, self.outcomes, bool),
            topics.label: self._statement_handler(topics.label, self.labels, bool),
            topics.judge: self._statement_handler(topics.judge, self.judged, float),
            topics.active: self._on_marker,
            topics.intervention: self._on_intervention,
            topics.format: self._on_description,
            topics.group: self._statement_handler(topics.group, self.groups, str),
            topics.task: self._statement_handler(topics.task, self.tasks, str),
            topics.tokens: self._on_tokens,
            **{topic: self._external_handler(name) for name, topic in topics.external.items()},
        }
        if self._models.sampler is None:
            handlers[topics.action_chunks] = self._on_chunks
        if self._observed is None:
            handlers[topics.embedding] = self._on_embedding
        else:
            handlers |= self._observed.handlers(self._on_observation)
        if self._positions is not None:
            first = handlers.get(topics.positions)
            handlers[topics.positions] = self._positions_handler(self._positions, first)
        for name, joints in self._joints.topics.items():
            handlers[name] = self._joints_handler(joints, handlers.get(name))
        if self._commands is not None:
            handlers[topics.commands] = self._commands_handler(self._commands)
        return {topic: handler for topic, handler in handlers.items() if topic in self._types}

    @property
    def seconds(self) -> float:
        """The seconds from the first decision, marker or outcome to the last."""
        times = [completion.received for completion in self.completions.values()]
        times += [time for time, _ in (*self.markers, *self.outcomes)]
        return 1e-9 * (max(times) - min(times)) if times else 0.0

    @property
    def unpaired(self) -> int:
        """The number of embeddings and action chunks without a partner of the same stamp."""
        return len((self.embeddings.stamps() | self.chunks.stamps()) - self.completions.keys())

    def embeddings_at(self, stamps: Sequence[int]) -> NDArray[np.float32]:
        """Return the embeddings at some stamps, (T, E); (T, 0) where there are none."""
        if not self.has_embeddings:
            return np.empty((len(stamps), 0), np.float32)
        return self.embeddings.at(stamps)

    def problems(self) -> list[str]:
        """Return why observations were lost, and what to do about it."""
        return [] if self._observed is None else self._observed.problems()

    def why_no_observation(self) -> list[str]:
        """Return why there was no observation at all."""
        return [] if self._observed is None else self._observed.why_none()

    @property
    def human_acts_for(self) -> int | None:
        """For how many nanoseconds a message of a human's device counts; None for a state."""
        message_type = self._types.get(self._options.topics.intervention)
        return None if message_type == BOOL_TYPE else round(1e9 * USUAL_LASTING)

    def _on_intervention(self, received: int, serialised: bytes) -> None:
        assert self.interventions is not None
        message_type = self._types[self._options.topics.intervention]
        message = self._decoder.decode(serialised, message_type)
        active = is_active(message, message_type, USUAL_DEAD_BAND)
        self.interventions.append((received, active))

    def _statement_handler(
        self, topic: str, statements: list[tuple[int, Any]], kind: type
    ) -> MessageHandler:
        def handle(received: int, serialised: bytes) -> None:
            message = self._decoder.decode(serialised, self._types[topic])
            statements.append((received, kind(message.data)))

        return handle

    def _positions_handler(
        self, positions: MeasuredPositions[Numbered], also: MessageHandler | None
    ) -> MessageHandler:
        numbers = count()

        def handle(received: int, serialised: bytes) -> None:
            positions.add((next(numbers), serialised))
            if also is not None:
                also(received, serialised)

        return handle

    def _joints_handler(self, joints: JointTopic, also: MessageHandler | None) -> MessageHandler:
        decoder = JointStateDecoder(self._decoder)

        def handle(received: int, serialised: bytes) -> None:
            joints.add(*decoder.decode(serialised))
            if also is not None:
                also(received, serialised)

        return handle

    def _commands_handler(self, commands: SentCommands) -> MessageHandler:
        message_type = self._types[self._options.topics.commands]

        def handle(received: int, serialised: bytes) -> None:
            commands.add(received, self._decoder.decode(serialised, message_type), message_type)

        return handle

    def _on_marker(self, received: int, serialised: bytes) -> None:
        stated = self._decoder.decode(serialised, self._types[self._options.topics.active]).data
        running = bool(stated)
        was_running = bool(self.markers) and self.markers[-1][1]
        if isinstance(stated, str) and stated:
            if was_running and stated != self._marked_task:
                self.markers.append((received - 1, False))
                was_running = False
            self._marked_task = stated
            if self._options.topics.task not in self._types:
                self.tasks.append((received, stated))
        if running and not was_running and self._observed is not None and self._follows_markers:
            self._observed.start_rollout()
            if self.sampling is not None:
                self.sampling.start_rollout()
        self.markers.append((received, running))

    def _on_description(self, received: int, serialised: bytes) -> None:
        message = self._decoder.decode(serialised, self._types[self._options.topics.format])
        try:
            description = PolicyDescription.from_json(message.data)
        except PolicyDescriptionError as error:
            raise SourceError(f"{error}, or read the bag without it, --format-topic ''") from None
        self.descriptions.append((received, description))

    @property
    def _follows_markers(self) -> bool:
        return self._options.boundaries in ("auto", "markers")

    def _external_handler(self, name: str) -> MessageHandler:
        topic = self._options.topics.external[name]

        def handle(received: int, serialised: bytes) -> None:
            self._external[name] = float(self._decoder.decode(serialised, self._types[topic]).data)
            self._fresh.add(name)

        return handle

    def _on_embedding(self, received: int, serialised: bytes) -> None:
        stamp, embedding, _ = self._embedding_floats.decode(serialised)
        self.stamps[self._options.topics.embedding].add(received, stamp)
        self._keep(self.embeddings, stamp, embedding)
        if stamp in self.chunks or self._models.sampler is not None:
            self._complete(stamp, received)

    def _on_tokens(self, received: int, serialised: bytes) -> None:
        stamp, tokens, _ = self._token_floats.decode(serialised)
        self._keep(self.tokens, stamp, tokens)

    def _on_observation(self, matched: MatchedMessages, received: int) -> None:
        stamp = matched.stamp
        if self._models.sampler is None and stamp not in self.chunks:
            self._waiting[stamp] = matched
            if len(self._waiting) > MAX_WAITING_OBSERVATIONS:
                self._waiting.popitem(last=False)
        elif self._models.sampler is None or self._is_decision(stamp):
            self._embed(matched, received)

    def _is_decision(self, stamp: int) -> bool:
        """Return whether the sampler is run on an observation: between rollouts it is not."""
        if self._follows_markers and self.markers and not self.markers[-1][1]:
            return False
        return self._observed is not None and self._observed.is_due(stamp)

    def _embed(self, matched: MatchedMessages, received: int) -> None:
        if self._observed is None:
            return
        stamp, task = matched.stamp, self._options.task
        if not task and self.tasks:
            task = self.tasks[-1][1]
        encoded = self._observed.embed(matched, task)
        if self._observed.depends_on_task:
            self.encoded_tasks[stamp] = task
        if self.sampling is not None:
            chunks = self.sampling.sample(stamp, received, self.outcomes, encoded)
            self.chunks.add(stamp, chunks)
        self._complete(stamp, received)

    def _on_chunks(self, received: int, serialised: bytes) -> None:
        stamp, chunks, names = self._chunk_floats.decode(serialised)
        if names != self.action_names:
            if self.action_names:
                raise SourceError(
                    f"the actions are {list(names)}, but were {list(self.action_names)} before: "
                    "record one policy per bag"
                )
            self.action_names = names
        self.stamps[self._options.topics.action_chunks].add(received, stamp)
        self._keep(self.chunks, stamp, chunks)
        self._with_chunks.setdefault(stamp, {name: self._external[name] for name in self._fresh})
        self._fresh.clear()
        if stamp in self.embeddings or not self.has_embeddings:
            self._complete(stamp, received)
        elif stamp in self._waiting:
            self._embed(self._waiting.pop(stamp), received)

    def _keep(self, arrays: StampedArrays, stamp: int, values: NDArray[np.float32]) -> None:
        if arrays and values.shape != arrays.shape:
            raise SourceError(
                f"the shape is {values.shape}, but was {arrays.shape} before: record one policy "
                "per bag"
            )
        if stamp == 0:
            raise SourceError("the header has no stamp: publish with the stamp of the observation")
        if stamp not in arrays:
            arrays.add(stamp, values)
            return
        behind = arrays.newest - stamp
        if behind > CLOCK_JUMP:
            raise SourceError(
                f"its stamp goes back by {1e-9 * behind:.2f} s to one that was used before: the "
                "clock was set back, or started again; record each rollout into a bag of its own, "
                "and leave this one out"
            )
        self.repeated += 1

    def pair_published(self) -> None:
        """Give every decision what was published with it; one that lacks something is none.

        That are tokens of its stamp, where any were recorded, and extras, which the policy stated
        to publish with every decision before its chunks: received after the chunks before.
        """
        if self.tokens:
            for stamp in self.completions.keys() - self.tokens.stamps():
                del self.completions[stamp]
        topics = self._options.topics.external
        stated = {name for _, description in self.descriptions for name in description.extras}
        extras = {name for name, topic in topics.items() if _is_extra(name, topic, stated)}
        if not extras or self._models.sampler is not None:
            return
        for stamp, completion in list(self.completions.items()):
            own = self._with_chunks[stamp]
            if not extras <= own.keys():
                del self.completions[stamp]
                continue
            known = zip(topics, completion.external, strict=True)
            values = tuple(own[name] if name in extras else value for name, value in known)
            self.completions[stamp] = completion._replace(external=values)

    @property
    def joint_topics(self) -> tuple[str, ...]:
        """The topics of joint states, that of the robot first."""
        return tuple(self._joints.topics)

    def joint_problems(self) -> list[str]:
        """Return what was wrong with joint states, of which a part could not be used."""
        sent = [] if self._commands is None else self._commands.problems()
        return [*self._joints.problems(), *sent]

    @property
    def positions_topic(self) -> PositionsTopic | None:
        """The topic with the measured positions; None if none are read."""
        topic = self._options.topics.positions
        for known in POSITION_TYPES:
            if self._types.get(topic) == known:
                joints = self._measured_names if known == JOINT_STATE_TYPE else ()
                return PositionsTopic(topic, known, joints)
        return None

    @property
    def message_types(self) -> dict[str, str]:
        """The types of the topics of external scores, cameras and commands."""
        cameras, named = self._options.black_box.cameras, self._options.topics
        topics = (*named.external.values(), *cameras.values(), named.commands)
        return {topic: self._types[topic] for topic in topics if topic in self._types}

    @property
    def _measured_names(self) -> tuple[str, ...]:
        """The joints that the position actions move."""
        options, sampler = self._options, self._models.sampler
        stated = () if sampler is None else sampler.contract.position_names
        return options.measured_names or options.position_names or stated or self.action_names

    def _complete(self, stamp: int, received: int) -> None:
        if stamp in self.completions:
            return
        positions = None
        if self._positions is not None:
            positions = self._positions.at(stamp, self._measured_names)
        joints = self._joints.take(stamp) if self._joints.topics else None
        if self._commands is not None and joints is not None:
            joints = self._commands.take(stamp, joints)
        external = tuple(self._external.values())
        self.completions[stamp] = Completion(received, positions, joints, external)


def _is_extra(name: str, topic: str, stated: Collection[str]) -> bool:
    return name in stated and f"/{topic}".endswith(f"/{external_topic(name)}")


def _positions_on(
    topic: str, message_type: str, decoder: MessageDecoder
) -> MeasuredPositions[Numbered]:
    floats = StampedFloatsDecoder(decoder, message_type, _extract_positions)

    def read(message: Numbered) -> Measurement:
        number, serialised = message
        try:
            _, positions, names = floats.decode(serialised)
        except (FailureMonitorError, UndecodableError) as error:
            raise MessageFaultError(topic, number, error) from None
        return Measurement(names, positions)

    def stamp_of(message: Numbered) -> int:
        return decoder.decode_stamp(message[1], message_type)

    return MeasuredPositions(topic, stamp_of=stamp_of, read=read)


def _extract_embedding(message: Any) -> tuple[NDArray[np.float32], None]:
    return read_embedding(message), None


def _extract_tokens(message: Any) -> tuple[NDArray[np.float32], None]:
    return read_tokens(message), None


def _extract_positions(message: Any) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    measurement = read_measurement(message)
    return measurement.positions, measurement.names


def _extract_chunks(message: Any) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    names, chunks = read_action_chunks(message)
    return chunks, names
