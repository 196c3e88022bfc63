# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How old the plan is that the robot executes: the time from its observation to now.

It is how old the observation was when its decision came, by its stamp and the clock of this
machine, and the time since then by a steady clock. A stamp that is ahead of the clock counts as
now, so that no difference of clocks makes a plan younger than its decision. A clock that jumps
ahead makes no plan older.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

JUMP = 0.25
"""Seconds by which the clock is faster than a steady one if it has jumped ahead."""

LONG = 60.0
"""Seconds beyond which an observation is less likely late than stamped by another clock."""


@dataclass(frozen=True)
class PlanAge:
    """The age of a plan.

    Attributes:
        on_arrival: seconds from its observation to the reception of the decision, by the stamp.
        since: seconds since the decision was received.
    """

    on_arrival: float
    since: float

    @property
    def seconds(self) -> float:
        """The age."""
        return max(self.on_arrival, 0.0) + self.since

    def problem(self, limit: float) -> str:
        """Return that the plan is older than the limit, and what to do; empty if it is not."""
        # Not `> limit`: an age that is NaN is no age.
        if self.seconds <= limit:
            return ""
        return (
            f"the plan that is executed is {self.seconds:.3g} s old, at most {limit:.3g} s are "
            f"allowed (max_plan_age): its observation was {max(self.on_arrival, 0.0):.3g} s old "
            f"when the decision came, {self.since:.3g} s ago: {self._remedy()}"
        )

    def _remedy(self) -> str:
        if not self.on_arrival < LONG:
            return (
                "the clock that stamps observations is another one: synchronise the clocks of the "
                "machines, set use_sim_time alike everywhere, and play recordings with --clock"
            )
        if self.on_arrival > self.since:
            return (
                "the policy, its server or the network answers late, or the clocks of the "
                "machines differ: see which, or raise max_plan_age if the robot may act on "
                "observations that old"
            )
        return (
            "no newer decision has come: see why the policy, its server or the network has "
            "stopped, or raise max_plan_age if chunks last that long"
        )


class ArrivalClock:
    """Measures how old observations are by this machine's clock, which may jump ahead meanwhile.

    What was stamped before a jump looks older than it is. It was made before the last time that
    both clocks were read before the jump, or since; a steady clock measures how long ago that was.
    """

    def __init__(self) -> None:
        """Start without a reading."""
        self._last: _Reading | None = None
        self._before_jump: _Reading | None = None

    def age(self, stamp: int, clock: int, now: float) -> float:
        """Return how old an observation is at most, in seconds.

        Args:
            stamp: in nanoseconds.
            clock: in nanoseconds; 0 if it has no time yet, so that nothing is known.
            now: seconds of a steady clock at the same time.
        """
        if not clock:
            return math.nan
        reading = _Reading(clock, now)
        if self._last is not None and reading.ahead_since(self._last) > JUMP:
            self._before_jump = self._last
        self._last = reading
        age = 1e-9 * (clock - stamp)
        if self._before_jump is None:
            return age
        return min(age, self._before_jump.oldest(stamp, now))


@dataclass(frozen=True)
class _Reading:
    clock: int
    steady: float

    def ahead_since(self, before: _Reading) -> float:
        """Return by how many seconds the clock was faster than the steady one."""
        return 1e-9 * (self.clock - before.clock) - (self.steady - before.steady)

    def oldest(self, stamp: int, now: float) -> float:
        """Return how old an observation is at most, if this was read by the clock that stamps."""
        return max(1e-9 * (self.clock - stamp), 0.0) + now - self.steady
