# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Computes embeddings from the cameras and joint states of a bag with the exported encoder.

Messages are matched to observations in the same way as by the monitor on the robot. Only messages
of observations that make a decision are decoded. They are embedded in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.messages.matching import MatchedMessages, ObservationMatcher
from failure_monitor.policy_models.models import ObservationEncoder
from failure_monitor.policy_models.observation import Observation, ObservationReader
from failure_monitor.policy_models.observation_rate import ObservationRate
from failure_monitor.policy_models.replay import BATCH, embed_all
from failure_monitor.sources.message_decoder import MessageDecoder, MessageHandler
from failure_monitor.sources.source import BlackBox
from failure_monitor.sources.stamped_arrays import StampedArrays

ObservationHandler = Callable[[MatchedMessages, int], None]
"""Handles the messages of an observation, given the bag time in nanoseconds."""


class ObservedEmbeddings:
    """Matches messages to observations, and computes the embeddings of some of these.

    Attributes:
        embeddings: The embeddings, float32 (E,); complete after `flush`.
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
        self._encoder = encoder
        self._types = types
        self._decoder = decoder
        self._matcher = ObservationMatcher(
            tuple(encoder.cameras), joints=has_joints, tolerance=black_box.tolerance
        )
        self._reader = ObservationReader(encoder)
        self._black_box = black_box
        self._rate = ObservationRate(black_box.rate)
        self._batch: list[Observation] = []

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

    def embed(self, matched: MatchedMessages) -> None:
        """Decode an observation, and compute embeddings once a batch is full.

        Raises:
            FailureMonitorError: A message holds no image, or other joints than the encoder needs.
            UndecodableError: The bytes of a message are invalid.
        """
        messages = {
            name: self._decoder.decode(serialised, self._types[self._topics[name]])
            for name, serialised in matched.messages.items()
        }
        self._batch.append(self._reader.read(replace(matched, messages=messages)))
        if len(self._batch) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Compute the embeddings of waiting observations.

        Raises:
            OnnxModelError: The encoder failed.
        """
        stamps, embeddings = embed_all(self._encoder, self._batch)
        for stamp, embedding in zip(stamps.tolist(), embeddings, strict=True):
            self.embeddings.add(stamp, embedding)
        self._batch.clear()

    def problems(self) -> list[str]:
        """Return why observations were lost, and what to do about it."""
        return self._matcher.problems()

    def _handler(self, name: str, topic: str, handle: ObservationHandler) -> MessageHandler:
        message_type = self._types[topic]

        def handle_message(received: int, serialised: bytes) -> None:
            stamp = self._decoder.decode_stamp(serialised, message_type)
            matched = self._matcher.add(name, stamp, serialised)
            if matched is not None:
                handle(matched, received)

        return handle_message
