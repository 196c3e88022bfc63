# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Computes embeddings from the cameras and joint states of a bag with the exported encoder.

Messages are matched to observations in the same way as by the monitor on the robot. Only messages
of observations that make a decision are decoded. Each is embedded by itself, as on the robot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.messages.matching import MatchedMessages, ObservationMatcher
from failure_monitor.policy_models.models import Encoded, ObservationEncoder
from failure_monitor.policy_models.observation import ObservationReader
from failure_monitor.policy_models.observation_rate import ObservationRate
from failure_monitor.sources.message_decoder import (
    MessageDecoder,
    MessageFaultError,
    MessageHandler,
    UndecodableError,
)
from failure_monitor.sources.set_back_clock import ReceivedStamps
from failure_monitor.sources.source import BlackBox
from failure_monitor.sources.stamped_arrays import StampedArrays

ObservationHandler = Callable[[MatchedMessages, int], None]
"""Handles the messages of an observation, given the bag time in nanoseconds."""


class _RecordedObservations(ObservationReader):
    """Reads observations from the messages of a bag, which it decodes."""

    def __init__(
        self,
        encoder: ObservationEncoder,
        topics: Mapping[str, str],
        types: Mapping[str, str],
        decoder: MessageDecoder,
    ) -> None:
        super().__init__(encoder)
        self._topics = topics
        self._types = types
        self._decoder = decoder

    def read_message(self, stream: str, message: Any) -> Any:
        number, serialised = message
        topic = self._topics[stream]
        try:
            decoded = self._decoder.decode(serialised, self._types[topic])
            return super().read_message(stream, decoded)
        except (FailureMonitorError, UndecodableError) as error:
            raise MessageFaultError(topic, number, error) from None


class ObservedEmbeddings:
    """Matches messages to observations, and computes the embeddings of some of these.

    Attributes:
        embeddings: The embeddings, float32 (E,).
        stamps: The stamps of cameras and joints, by topic.
    """

    def __init__(
        self,
        encoder: ObservationEncoder,
        black_box: BlackBox,
        types: Mapping[str, str],
        decoder: MessageDecoder,
    ) -> None:
        """Start without an observation.

        Args:
            encoder: Computes the embeddings.
            black_box: Names the topics, and states how stamps are matched.
            types: The message types of the topics.
            decoder: Decodes messages.
        """
        self.embeddings = StampedArrays()
        has_joints = bool(encoder.joint_names)
        self._topics = dict(black_box.cameras) | ({JOINTS: black_box.joints} if has_joints else {})
        self.stamps = {topic: ReceivedStamps() for topic in self._topics.values()}
        self._encoder = encoder
        self._types = types
        self._decoder = decoder
        self._matcher = ObservationMatcher(
            tuple(encoder.cameras),
            joints=has_joints,
            tolerance=black_box.matching_tolerance,
            history=encoder.history,
        )
        self._reader = _RecordedObservations(encoder, self._topics, types, decoder)
        self._black_box = black_box
        self._rate = ObservationRate(black_box.rate)

    def handlers(self, handle: ObservationHandler) -> dict[str, MessageHandler]:
        """Return the handler of each topic; complete observations are passed to `handle`."""
        return {topic: self._handler(name, topic, handle) for name, topic in self._topics.items()}

    def start_rollout(self) -> None:
        """Forget waiting messages, as the monitor does: the next observation makes a decision."""
        self._matcher.clear()
        self._rate = ObservationRate(self._black_box.rate)

    def is_due(self, stamp: int) -> bool:
        """Return whether an observation of this stamp makes a decision, and count it if so."""
        return self._rate.accepts(stamp)

    def embed(self, matched: MatchedMessages, task: str) -> Encoded:
        """Decode an observation, and keep its embedding.

        Args:
            matched: its messages.
            task: the task, of those whose tokens the encoder holds.

        Returns:
            The embedding, with what the sampler takes beside it.

        Raises:
            MessageFaultError: A message holds no image, or other joints than the encoder needs.
            UnknownTokensError: The encoder does not hold the tokens of the task.
            OnnxModelError: The encoder failed.
        """
        seen = self._reader.read(matched)
        encoded = self._encoder.encode(seen.images, seen.joints, task)
        self.embeddings.add(matched.stamp, encoded.embedding)
        return encoded

    @property
    def depends_on_task(self) -> bool:
        """Whether embeddings depend on the rollout's task."""
        return bool(self._encoder.contract.tasks)

    def problems(self) -> list[str]:
        """Return why observations were lost, and what to do about it."""
        return self._matcher.problems()

    def why_none(self) -> list[str]:
        """Return why there was no observation at all, of those that still wait, too."""
        return self._matcher.why_none()

    def _handler(self, name: str, topic: str, handle: ObservationHandler) -> MessageHandler:
        message_type, numbers = self._types[topic], count()

        def handle_message(received: int, serialised: bytes) -> None:
            number = next(numbers)
            stamp = self._decoder.decode_stamp(serialised, message_type)
            self.stamps[topic].add(received, stamp)
            matched = self._matcher.add(name, stamp, (number, serialised))
            if matched is not None:
                handle(matched, received)

        return handle_message
