# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs the two parts of a decision by their exact stamp.

One part is the observation embedding, or the messages that an encoder will embed. The other is the
sampled action chunks. This module knows neither ROS nor a clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MIN_STUCK = 3
"""Number of waiting chunks from which pairing is stuck: no embedding has their stamps."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A decision whose parts have both arrived.

    Attributes:
        stamp: the stamp of both, in nanoseconds.
        embedding: one part.
        chunks: the other part.
        missed: number of decisions since the previous pair that cannot be completed.
    """

    stamp: int
    embedding: Any
    chunks: Any
    missed: int


class DecisionPairing:
    """Turns parts of decisions into pairs, in the order of their stamps."""

    def __init__(self, capacity: int) -> None:
        """Start without any part.

        Args:
            capacity: number of parts that may wait for the other one.
        """
        self._capacity = capacity
        self.unpaired = 0
        """Number of parts that were dropped because the other one did not come."""
        self.start_rollout()

    def start_rollout(self) -> None:
        """Forget what waits; stamps may start again."""
        self._waiting: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._newest: int | None = None
        self._missed = 0

    def add_embedding(self, stamp: int, embedding: Any) -> Pair | None:
        """Receive an embedding with its stamp in nanoseconds; return a pair if it is complete."""
        return self._add(stamp, "embedding", embedding)

    def add_chunks(self, stamp: int, chunks: Any) -> Pair | None:
        """Receive action chunks with their stamp; return a pair if it is complete."""
        return self._add(stamp, "chunks", chunks)

    def _add(self, stamp: int, part: str, value: Any) -> Pair | None:
        if self._newest is not None and stamp <= self._newest:
            return None
        parts = self._waiting.setdefault(stamp, {})
        parts[part] = value
        if len(parts) < 2:
            if len(self._waiting) > self._capacity:
                _, oldest = self._waiting.popitem(last=False)
                self._give_up([oldest])
            return None
        del self._waiting[stamp]
        older = [waiting for waiting in self._waiting if waiting < stamp]
        self._give_up([self._waiting.pop(waiting) for waiting in older])
        self._newest = stamp
        missed, self._missed = self._missed, 0
        return Pair(stamp, parts["embedding"], parts["chunks"], missed)

    @property
    def is_stuck(self) -> bool:
        """Whether several action chunks in a row wait for their embedding."""
        return sum("chunks" in parts for parts in self._waiting.values()) >= MIN_STUCK

    def _give_up(self, parts: Sequence[Mapping[str, Any]]) -> None:
        self.unpaired += len(parts)
        # Chunks make a decision: a policy may embed observations of which it makes none.
        self._missed += sum("chunks" in part for part in parts)
