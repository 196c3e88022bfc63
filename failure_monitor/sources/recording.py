# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bag's messages, put together to one rollout.

An embedding and action chunks of the same header stamp are a decision; decisions are ordered by
that stamp. The time at which a message was received only tells whether the rollout was running.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from failure_monitor.point_cloud import PointCloudError, read_action_chunks, read_embedding
from failure_monitor.sources.source import SourceError, Topics

POINT_CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
BOOL_TYPE = "std_msgs/msg/Bool"

logger = logging.getLogger(__name__)

# The messages needed have been the same since ROS 2 Foxy.
_TYPES = get_typestore(Stores.ROS2_JAZZY)


class Half(NamedTuple):
    """One of the two messages of a decision: when it was received (ns), and a view on its data."""

    received: int
    values: NDArray[np.float32]


class Recording:
    """Takes a bag's messages in the order in which they were received.

    Attributes:
        embeddings: the embedding messages, by stamp in nanoseconds.
        chunks: the action-chunk messages, likewise.
        action_names: of the D action dimensions; empty before the first action chunks.
        repeated: how many messages had a stamp that their topic had already used.
    """

    def __init__(self, bag: Path, topics: Topics) -> None:
        """Begin with nothing.

        Args:
            bag: what errors name.
            topics: which topic means what.
        """
        self.embeddings: dict[int, Half] = {}
        self.chunks: dict[int, Half] = {}
        self.action_names: tuple[str, ...] = ()
        self.repeated = 0
        self._bag = bag
        self._topics = topics
        self._counts: Counter[str] = Counter()
        self._received: list[int] = []
        self._active: list[tuple[int, bool]] = []
        self._outcomes: list[tuple[int, bool]] = []

    def take(self, topic: str, received: int, serialised: bytes) -> None:
        """Take one message, in CDR, of one of the topics.

        Raises:
            SourceError: it cannot be deserialised, or differs in its format from those before.
            PointCloudError: it is no embedding or no batch of action chunks.
        """
        if topic == self._topics.embedding:
            self._take_embedding(received, self._deserialise(topic, POINT_CLOUD_TYPE, serialised))
        elif topic == self._topics.action_chunks:
            self._take_chunks(received, self._deserialise(topic, POINT_CLOUD_TYPE, serialised))
        else:
            message = self._deserialise(topic, BOOL_TYPE, serialised)
            flags = self._active if topic == self._topics.active else self._outcomes
            flags.append((received, bool(message.data)))
        self._counts[topic] += 1
        self._received.append(received)

    def count(self, topic: str) -> int:
        """How many messages of a topic were taken."""
        return self._counts[topic]

    @property
    def seconds(self) -> float:
        """From the first message taken to the last one."""
        if not self._received:
            return 0.0
        return 1e-9 * (max(self._received) - min(self._received))

    @property
    def stamps(self) -> list[int]:
        """The stamps, in nanoseconds, of the decisions of which both messages are there."""
        return sorted(self.embeddings.keys() & self.chunks.keys())

    def stamps_while_active(self) -> list[int]:
        """The stamps of the decisions that were received while the rollout was running.

        Raises:
            SourceError: the bag says that no rollout ran, or several.
        """
        begin, end = self._begin_and_end()
        stamps = self.stamps
        inside = [stamp for stamp in stamps if begin <= self._completed(stamp) <= end]
        if len(inside) < len(stamps):
            logger.info(
                "%s: left out %d of %d decisions, received while %s was not true",
                self._bag,
                len(stamps) - len(inside),
                len(stamps),
                self._topics.active,
            )
        return inside

    def outcome(self) -> bool | None:
        """What was last said of success since the rollout began; None if nothing was."""
        begin, _ = self._begin_and_end()
        said = [success for received, success in self._outcomes if received >= begin]
        return said[-1] if said else None

    def warn_of_losses(self) -> None:
        """Tell how many messages make up no decision, if any."""
        unpaired = len(self.embeddings.keys() ^ self.chunks.keys())
        if unpaired or self.repeated:
            logger.warning(
                "%s: left out %d messages without a partner of the same stamp and %d with the "
                "stamp of an earlier one on %s and %s: the recorder lost messages, or the policy "
                "stamps them wrongly",
                self._bag,
                unpaired,
                self.repeated,
                self._topics.embedding,
                self._topics.action_chunks,
            )

    def _completed(self, stamp: int) -> int:
        return max(self.embeddings[stamp].received, self.chunks[stamp].received)

    def _begin_and_end(self) -> tuple[float, float]:
        if not self._active:
            return -np.inf, np.inf
        begins = [time for time, active in self._active if active]
        if not begins:
            raise SourceError(
                f"{self._bag}: {self._topics.active} is never true, so no rollout ran: record "
                "from before its begin, or leave the bag out"
            )
        ends = [time for time, active in self._active if not active and time >= begins[0]]
        end = ends[0] if ends else np.inf
        if begins[-1] > end:
            raise SourceError(
                f"{self._bag}: {self._topics.active} turns true again after the rollout's end: "
                "record one rollout per bag"
            )
        return begins[0], end

    def _deserialise(self, topic: str, message_type: str, serialised: bytes) -> Any:
        try:
            return _TYPES.deserialize_cdr(serialised, message_type)
        except Exception as error:  # damaged bytes fail in any of the decoder's steps
            raise SourceError(
                f"{self._where(topic)}: the bytes are no {message_type} ({error}): the bag is "
                "damaged; record it again or leave it out"
            ) from None

    def _take_embedding(self, received: int, message: Any) -> None:
        topic = self._topics.embedding
        try:
            embedding = read_embedding(message)
        except PointCloudError as error:
            raise PointCloudError(f"{self._where(topic)}: {error}") from None
        self._keep(topic, self.embeddings, received, message, embedding)

    def _take_chunks(self, received: int, message: Any) -> None:
        topic = self._topics.action_chunks
        try:
            names, chunks = read_action_chunks(message)
        except PointCloudError as error:
            raise PointCloudError(f"{self._where(topic)}: {error}") from None
        if self.action_names and names != self.action_names:
            raise SourceError(
                f"{self._where(topic)}: the actions are {list(names)}, before they were "
                f"{list(self.action_names)}: record one policy per bag"
            )
        self.action_names = names
        self._keep(topic, self.chunks, received, message, chunks)

    def _keep(
        self,
        topic: str,
        halves: dict[int, Half],
        received: int,
        message: Any,
        values: NDArray[np.float32],
    ) -> None:
        first = next(iter(halves.values()), None)
        if first is not None and values.shape != first.values.shape:
            raise SourceError(
                f"{self._where(topic)}: the shape is {values.shape}, before it was "
                f"{first.values.shape}: record one policy per bag"
            )
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        if stamp not in halves:
            halves[stamp] = Half(received, values)
        elif stamp == 0:
            raise SourceError(
                f"{self._where(topic)}: the header has no stamp: publish with the stamp of the "
                "observation"
            )
        else:
            self.repeated += 1

    def _where(self, topic: str) -> str:
        return f"{self._bag}, {topic}, message {self._counts[topic]}"
