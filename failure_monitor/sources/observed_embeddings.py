# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The embeddings that the exported encoder makes of a bag's cameras and joint states.

Messages are matched to observations as the monitor matches them beside the robot. Only those of
an observation that counts are decoded, and a batch of them at a time is embedded.
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

TakeObservation = Callable[[MatchedMessages, int], None]
"""Takes the messages of an observation, and the bag time in nanoseconds."""


class ObservedEmbeddings:
    """Matches messages to observations, and embeds those that it is given back.

    Attributes:
        embeddings: float32 (E,) each; complete once flushed.
    """

    def __init__(
        self,
        encoder: ObservationEncoder,
        black_box: BlackBox,
        types: Mapping[str, str],
        decoder: MessageDecoder,
    ) -> None:
        """Nothing was observed yet.

        Args:
            encoder: makes the embeddings.
            black_box: names the topics, and how stamps are matched.
            types: of the topics.
            decoder: how messages are serialised.
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

    def takes(self, take: TakeObservation) -> dict[str, MessageHandler]:
        """What takes the messages of each topic; observations go on to `take`."""
        return {topic: self._taking(name, topic, take) for name, topic in self._topics.items()}

    def start_rollout(self) -> None:
        """Forget what waits, as the monitor does: the next observation makes a decision."""
        self._matcher.clear()
        self._rate = ObservationRate(self._black_box.rate)

    def is_due(self, stamp: int) -> bool:
        """Whether an observation of this stamp makes a decision; if so, it counts as made."""
        return self._rate.accepts(stamp)

    def embed(self, matched: MatchedMessages) -> None:
        """Decode an observation, and embed it when there are enough of them.

        Raises:
            FailureMonitorError: a message holds no image, or not the joints that the encoder takes.
            UndecodableError: a message's bytes are none of its type.
        """
        messages = {
            name: self._decoder.decode(serialised, self._types[self._topics[name]])
            for name, serialised in matched.messages.items()
        }
        self._batch.append(self._reader.read(replace(matched, messages=messages)))
        if len(self._batch) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Embed what waits.

        Raises:
            OnnxModelError: the encoder failed.
        """
        stamps, embeddings = embed_all(self._encoder, self._batch)
        for stamp, embedding in zip(stamps.tolist(), embeddings, strict=True):
            self.embeddings.add(stamp, embedding)
        self._batch.clear()

    def problems(self) -> list[str]:
        """What was lost, and what to do about it."""
        return self._matcher.problems()

    def _taking(self, name: str, topic: str, take: TakeObservation) -> MessageHandler:
        message_type = self._types[topic]

        def take_message(received: int, serialised: bytes) -> None:
            stamp = self._decoder.decode_stamp(serialised, message_type)
            matched = self._matcher.add(name, stamp, serialised)
            if matched is not None:
                take(matched, received)

        return take_message
