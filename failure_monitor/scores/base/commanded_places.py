# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where the actions that were executed since a rollout began lead to.

    u_t = Σ_{s<t} Σ_{h<k_s} a_s,h    of velocities and deltas, the latest target of positions

A chunk of which more than its H actions are due was executed to its end, and the robot waited
there. After a decision that was not seen, the chunk before it holds what was planned for its
time. Beyond that plan positions start again from the first target of the next decision, near which
the robot is; velocities and deltas go on half-way between the end of the one plan and the start of
the other, for no longer than a chunk lasts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.scores.base.executed_actions import ExecutedActions


@dataclass(frozen=True, eq=False)
class _Seen:
    """The last decision that was seen: its stamp, u, and its executed chunk (H, D)."""

    stamp: int
    place: NDArray[np.float64]
    actions: NDArray[np.float64]


class CommandedPlaces:
    """The commanded places u of a rollout, one decision after the other."""

    def __init__(self, executed: ExecutedActions, *, are_positions: bool) -> None:
        """Start a rollout.

        Args:
            executed: how many actions of a chunk are executed.
            are_positions: whether actions are positions, not velocities or deltas.
        """
        self._executed = executed
        self._are_positions = are_positions
        self.start_rollout()

    def start_rollout(self) -> None:
        """Forget what was commanded."""
        self._last: _Seen | None = None
        self._missing = 0
        self._is_lost = False

    def skip(self, decisions: int) -> None:
        """Go on after so many decisions that were executed and not seen."""
        self._missing += decisions

    def stop(self) -> None:
        """Go on after the robot was stopped, and perhaps moved.

        The next position is a new start. A sum of velocities or deltas is unknown from now on.
        """
        self._last, self._missing = None, 0
        self._is_lost |= not self._are_positions

    def is_known(self, stamp: int) -> bool:
        """Return whether the place at the next decision, of that stamp, is known."""
        if self._is_lost or self._are_positions or not self._missing or self._last is None:
            return not self._is_lost
        return self._due(self._last, stamp) <= 2 * len(self._last.actions)

    def add(self, stamp: int, actions: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return u at the next decision, after those at the decisions that were not seen.

        Args:
            stamp: of the decision, in nanoseconds.
            actions: its executed chunk, (H, D).

        Returns:
            The places, (D,) each; empty where they are not known until the next rollout.
        """
        self._is_lost = not self.is_known(stamp)
        if self._is_lost:
            return []
        start, place = self._step(stamp, actions)
        missing, self._missing = self._missing, 0
        self._last = _Seen(stamp, place, actions)
        return [*np.linspace(start, place, missing + 2)[1:-1], place] if missing else [place]

    def _step(
        self, stamp: int, actions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return u at the last decision that was seen and at the next."""
        last = self._last
        if last is None:
            start = self._first_place(actions)
            unseen = self._missing * self._executed.usual
            return start, start if self._are_positions else start + unseen * actions[0]
        due = self._due(last, stamp)
        if due == 0:
            return last.place, last.place
        of_plan = last.actions[:due]
        beyond = due - len(of_plan) if self._missing else 0
        if self._are_positions:
            return last.place, actions[0] if beyond else of_plan[-1]
        place = last.place + of_plan.sum(axis=0)
        return last.place, place + beyond * (of_plan[-1] + actions[0]) / 2 if beyond else place

    def _due(self, last: _Seen, stamp: int) -> int:
        """Return how many actions are executed from the last decision that was seen to this."""
        if self._executed.control_period is None or stamp < last.stamp:
            return self._executed.usual * (self._missing + 1)
        return self._executed.between(last.stamp, stamp, self._missing + 1)

    def _first_place(self, actions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return u_0.

        Velocities and deltas count from the start. Among positions 0 may be far away; the first
        target is near to where the robot is.
        """
        return actions[0] if self._are_positions else np.zeros_like(actions[0])
