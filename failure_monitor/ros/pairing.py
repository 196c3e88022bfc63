# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs an embedding and the action chunks of the same decision by their exact stamp."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision

CAPACITY = 10
"""How many halves may wait for the other one."""

Half = NDArray[np.float32]


class DecisionPairing:
    """Takes halves of decisions, gives whole ones, in the order of their stamps."""

    def __init__(self) -> None:
        self.unpaired = 0
        """How many halves were given up, the other one not having come."""
        self.out_of_order = 0
        """How many halves were older than a decision that is complete."""
        self.start_rollout()

    def start_rollout(self) -> None:
        """Forget what waits; stamps may begin anew."""
        self._waiting: OrderedDict[int, dict[str, Half]] = OrderedDict()
        self._newest: int | None = None

    def embedding(self, stamp: int, embedding: Half) -> Decision | None:
        """Take an embedding (E,) with its stamp in nanoseconds; a decision if it is complete."""
        return self._take(stamp, "embedding", embedding)

    def chunks(self, stamp: int, chunks: Half) -> Decision | None:
        """Take action chunks (B, H, D) with their stamp; a decision if it is complete."""
        return self._take(stamp, "chunks", chunks)

    def _take(self, stamp: int, half: str, values: Any) -> Decision | None:
        if self._newest is not None and stamp <= self._newest:
            self.out_of_order += 1
            return None
        halves = self._waiting.setdefault(stamp, {})
        halves[half] = values
        if len(halves) < 2:
            if len(self._waiting) > CAPACITY:
                self._waiting.popitem(last=False)
                self.unpaired += 1
            return None
        del self._waiting[stamp]
        older = [waiting for waiting in self._waiting if waiting < stamp]
        for waiting in older:
            del self._waiting[waiting]
        self.unpaired += len(older)
        self._newest = stamp
        return Decision(1e-9 * stamp, halves["embedding"], halves["chunks"])
