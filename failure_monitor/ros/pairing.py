# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs the two halves of a decision by their exact stamp.

One half is the observation embedding, or what an encoder will make one of; the other the sampled
action chunks. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

CAPACITY = 10
"""How many halves may wait for the other one."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A decision of which both halves have come.

    Attributes:
        stamp: of both, in nanoseconds.
        embedding: the one half.
        chunks: the other.
        missed: how many decisions before it, and after the pair before it, lacked a half.
    """

    stamp: int
    embedding: Any
    chunks: Any
    missed: int


class DecisionPairing:
    """Takes halves of decisions, gives whole ones, in the order of their stamps."""

    def __init__(self) -> None:
        self.paired = 0
        """How many pairs were given."""
        self.unpaired = 0
        """How many halves were given up, the other one not having come."""
        self.out_of_order = 0
        """How many halves were older than a decision that is complete."""
        self.start_rollout()

    def start_rollout(self) -> None:
        """Forget what waits; stamps may begin anew."""
        self._waiting: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._newest: int | None = None
        self._missed = 0

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
            if len(self._waiting) > CAPACITY:
                self._waiting.popitem(last=False)
                self._give_up(1)
            return None
        del self._waiting[stamp]
        older = [waiting for waiting in self._waiting if waiting < stamp]
        for waiting in older:
            del self._waiting[waiting]
        self._give_up(len(older))
        self._newest = stamp
        self.paired += 1
        missed, self._missed = self._missed, 0
        return Pair(stamp, halves["embedding"], halves["chunks"], missed)

    def _give_up(self, halves: int) -> None:
        self.unpaired += halves
        self._missed += halves
