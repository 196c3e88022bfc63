# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How old the plan is that the robot executes: the time from its observation to now.

It is how old the observation was when its decision came, by its stamp and the clock of this
machine, and the time since then by a steady clock. A stamp that is ahead of the clock counts as
now, so that no difference of clocks makes a plan younger than its decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def age_on_arrival(stamp: int, clock: int) -> float:
    """Return how old an observation is in seconds, by its stamp and this machine's clock.

    Args:
        stamp: in nanoseconds.
        clock: in nanoseconds; 0 if it has no time yet, so that nothing is known.
    """
    return 1e-9 * (clock - stamp) if clock else math.nan
