# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs the two parts of a decision by their exact stamp.

One part is the observation embedding, or the messages that an encoder will embed. The other is the
sampled action chunks, which make the decision. Each part comes with stamps that rise, so chunks
cannot be paired any more once an embedding with a later stamp has come. This module knows neither
ROS nor a clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MAX_WAITING_CHUNKS = 64
"""Number of action chunks that may wait for their embedding."""

OTHER_STAMPS = (
    "no embedding came with the stamp of its action chunks, as if they come with different "
    "stamps: publish embedding and action chunks of a decision with the stamp of its observation"
)


@dataclass(frozen=True, eq=False)
class Pair:
    """A decision whose parts have both arrived.

    Attributes:
        number: the number that came with its chunks.
        stamp: the stamp of both, in nanoseconds.
        embedding: one part.
        chunks: the other part.
    """

    number: int
    stamp: int
    embedding: Any
    chunks: Any


@dataclass(frozen=True)
class Unpaired:
    """A decision whose embedding will not come.

    Attributes:
        number: the number that came with its chunks.
        why: why it will not, as a clause.
    """

    number: int
    why: str


@dataclass(frozen=True, eq=False)
class _Chunks:
    number: int
    stamp: int
    values: Any


class DecisionPairing:
    """Turns parts of decisions into pairs, in the order of their chunks. All chunks come out."""

    def __init__(self, max_embeddings: int) -> None:
        """Start without any part.

        Args:
            max_embeddings: number of embeddings that may wait for their chunks.
        """
        self._max_embeddings = max_embeddings
        self.unpaired = 0
        """Number of parts that were dropped because the other one did not come."""
        self._embeddings: OrderedDict[int, Any] = OrderedDict()
        self._chunks: deque[_Chunks] = deque()
        self._old: frozenset[int] = frozenset()
        self._forget_stamps()

    def _forget_stamps(self) -> None:
        self._newest: int | None = None
        self._dropped: int | None = None

    def start_rollout(self) -> None:
        """Start a rollout: parts that came before belong to old decisions; stamps start again."""
        self._old = frozenset(self._embeddings)
        self._embeddings.clear()
        self._chunks.clear()
        self._forget_stamps()

    def drop_chunks(self) -> None:
        """Forget the decisions that wait, at the end of their rollout."""
        self._chunks.clear()

    def restart(self, why: str) -> Sequence[Unpaired]:
        """Forget what waits in the middle of a rollout; return the decisions that end thereby."""
        given_up = [self._give_up(chunks, why) for chunks in self._chunks]
        self._embeddings.clear()
        self._chunks.clear()
        self._forget_stamps()
        return given_up

    def is_old(self, stamp: int) -> bool:
        """Return whether chunks of this stamp belong to a decision from before the rollout."""
        return stamp in self._old

    def add_embedding(self, stamp: int, embedding: Any) -> Sequence[Pair | Unpaired]:
        """Receive an embedding with its stamp in nanoseconds; return what that settles."""
        self._old -= {stamp}
        self._embeddings[stamp] = embedding
        self._newest = stamp
        settled = list(self._settle())
        if len(self._embeddings) > self._max_embeddings:
            self._dropped, _ = self._embeddings.popitem(last=False)
            self.unpaired += 1
        return settled

    def add_chunks(self, number: int, stamp: int, chunks: Any) -> Sequence[Pair | Unpaired]:
        """Receive the action chunks of a decision; return what that settles, oldest first."""
        self._chunks.append(_Chunks(number, stamp, chunks))
        settled = list(self._settle())
        if len(self._chunks) > MAX_WAITING_CHUNKS:
            settled.append(self._give_up(self._chunks.popleft(), OTHER_STAMPS))
        return settled

    def _settle(self) -> Iterator[Pair | Unpaired]:
        while self._chunks:
            chunks = self._chunks[0]
            if chunks.stamp in self._embeddings:
                self._chunks.popleft()
                yield self._pair(chunks)
            elif self._newest is not None and chunks.stamp < self._newest:
                yield self._give_up(self._chunks.popleft(), self._why_missing(chunks))
            else:
                return

    def _pair(self, chunks: _Chunks) -> Pair:
        while True:
            stamp, embedding = self._embeddings.popitem(last=False)
            if stamp == chunks.stamp:
                return Pair(chunks.number, stamp, embedding, chunks.values)
            # The chunks of later decisions have later stamps.
            self.unpaired += 1

    def _give_up(self, chunks: _Chunks, why: str) -> Unpaired:
        self.unpaired += 1
        return Unpaired(chunks.number, why)

    def _why_missing(self, chunks: _Chunks) -> str:
        if self._dropped is not None and chunks.stamp <= self._dropped:
            return (
                f"more than {self._max_embeddings} embeddings came between its own and its action "
                "chunks: let the policy embed less often, or decide sooner"
            )
        return OTHER_STAMPS
