# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The end of a rollout: all that the outcome check looks at, live and from recordings alike."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from failure_monitor.decision import Decision, Rollout

LAST_DECISIONS = 10
"""Number of a rollout's last decisions that are kept."""


@dataclass(frozen=True)
class RolloutEnd:
    """The end of a rollout.

    Attributes:
        decisions: its last decisions in order of time, at most `LAST_DECISIONS`, at least one.
        length: the number of all its decisions.
        seconds: from its first decision to its last.
    """

    decisions: tuple[Decision, ...]
    length: int
    seconds: float

    @classmethod
    def of_rollout(cls, rollout: Rollout) -> RolloutEnd | None:
        """Return the end of a recorded rollout; None if it has no decision."""
        if not len(rollout):
            return None
        last = tuple(islice(rollout.decisions(), max(0, len(rollout) - LAST_DECISIONS), None))
        return cls(last, len(rollout), rollout.timing.seconds)


class EndKeeper:
    """Keeps the end of the rollout that runs."""

    def __init__(self) -> None:
        """Start a rollout."""
        self._last: deque[Decision] = deque(maxlen=LAST_DECISIONS)
        self._length = 0
        self._first = 0

    def update(self, decision: Decision) -> None:
        """Receive the next decision."""
        if not self._length:
            self._first = decision.stamp
        self._length += 1
        self._last.append(decision)

    @property
    def end(self) -> RolloutEnd | None:
        """The end, if the rollout ended now; None without a decision."""
        if not self._last:
            return None
        seconds = 1e-9 * (self._last[-1].stamp - self._first)
        return RolloutEnd(tuple(self._last), self._length, seconds)


def ends_of(rollouts: Sequence[Rollout]) -> list[RolloutEnd]:
    """Return the ends of recorded rollouts, which have a decision each."""
    return [end for rollout in rollouts if (end := RolloutEnd.of_rollout(rollout)) is not None]
