# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs the two halves of a decision by their exact stamp.

One half is the observation embedding, or what an encoder will make one of; the other the sampled
action chunks. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STUCK = 3
"""Chunks that wait, and none pairs: their stamps are not those of embeddings."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A decision of which both halves have come.

    Attributes:
        stamp: of both, in nanoseconds.
        embedding: the one half.
        chunks: the other.
        missed: how many decisions since the pair before will never be one.
    """

    stamp: int
    embedding: Any
    chunks: Any
    missed: int


class DecisionPairing:
    """Takes halves of decisions, gives whole ones, in the order of their stamps."""

    def __init__(self, capacity: int) -> None:
        """Before the first half.

        Args:
            capacity: how many halves may wait for the other one.
        """
        self._capacity = capacity
        self.unpaired = 0
        """How many halves were given up, the other one not having come."""
        self.out_of_order = 0
        """How many halves were older than a decision that is complete."""
        self.start_rollout()

    def start_rollout(self) -> None:
        """Forget what waits; stamps may begin anew."""
        self._waiting: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._newest: int | None = None
        self.missed = 0
        """How many decisions since the last pair will never be one."""

    def embedding(self, stamp: int, embedding: Any) -> Pair | None:
        """Take an embedding with its stamp in nanoseconds; a pair if it is complete."""
        return self._take(stamp, "embedding", embedding)

    def chunks(self, stamp: int, chunks: Any) -> Pair | None:
        """Take action chunks with their stamp; a pair if it is complete."""
        return self._take(stamp, "chunks", chunks)

    def _take(self, stamp: int, half: str, value: Any) -> Pair | None:
        if self._newest is not None and stamp <= self._newest:
            self.out_of_order += 1
            return None
        halves = self._waiting.setdefault(stamp, {})
        halves[half] = value
        if len(halves) < 2:
            if len(self._waiting) > self._capacity:
                _, oldest = self._waiting.popitem(last=False)
                self._give_up([oldest])
            return None
        del self._waiting[stamp]
        older = [waiting for waiting in self._waiting if waiting < stamp]
        self._give_up([self._waiting.pop(waiting) for waiting in older])
        self._newest = stamp
        missed, self.missed = self.missed, 0
        return Pair(stamp, halves["embedding"], halves["chunks"], missed)

    @property
    def is_stuck(self) -> bool:
        """Whether several action chunks in a row wait for their embedding."""
        return sum("chunks" in halves for halves in self._waiting.values()) >= STUCK

    def _give_up(self, halves: Sequence[Mapping[str, Any]]) -> None:
        self.unpaired += len(halves)
        # Chunks make a decision: a policy may embed observations of which it makes none.
        self.missed += sum("chunks" in half for half in halves)
