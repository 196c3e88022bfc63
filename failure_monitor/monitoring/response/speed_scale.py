# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Speed scale: the nearer the alarm, the slower, down to a part of the speed at the alarm itself.

With the rule's level l, 1 at the alarm, and x = (l − from) / (1 − from) clipped to [0, 1],

    speed(l) = 1 − (1 − slowest) (3x² − 2x³)

It falls at once and rises no faster than at a set rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.monitoring.response.table import Reaction
from failure_monitor.parameters.response import SpeedParameters

DEFAULTS = SpeedParameters()


@dataclass(frozen=True)
class SpeedSettings:
    """How a robot slows down.

    Attributes:
        slow_from: the level at which slowing begins, in [0, 1).
        slowest: the speed scale at the alarm, in [0, 1].
        rise: how fast the scale may grow, per second.
    """

    slow_from: float = DEFAULTS.slow_from
    slowest: float = DEFAULTS.slowest
    rise: float = DEFAULTS.rise

    def __post_init__(self) -> None:
        if not 0 <= self.slow_from < 1:
            raise UsageError(
                f"slowing cannot begin at level {self.slow_from:g}, the alarm is at 1: choose a "
                "level from 0 to below 1"
            )
        if not 0 <= self.slowest <= 1:
            raise UsageError(f"the slowest speed scale is {self.slowest:g}: choose one from 0 to 1")
        if not self.rise > 0:
            raise UsageError(
                f"a speed scale that rises by {self.rise:g} per second stays at 0: choose more"
            )

    def target(self, reaction: Reaction, level: float) -> float:
        """The speed scale that a reaction asks for at a level of the rule; 0 if that is NaN."""
        if not reaction.permits:
            return 0.0
        if reaction == Reaction.GO:
            return 1.0
        if reaction == Reaction.REPLAN:
            return self.slowest
        if math.isnan(level):
            return 0.0
        x = min(max((level - self.slow_from) / (1 - self.slow_from), 0.0), 1.0)
        return 1.0 - (1.0 - self.slowest) * x * x * (3.0 - 2.0 * x)


class SpeedScale:
    """The speed scale over time. Pure: times are seconds of a monotonic clock, handed in."""

    def __init__(self, settings: SpeedSettings) -> None:
        """A robot that stands."""
        self._settings = settings
        self._value = 0.0
        self._then: float | None = None

    def update(self, reaction: Reaction, level: float, now: float) -> float:
        """The speed scale at this moment, in [0, 1]; 0 while nothing is permitted."""
        passed = 0.0 if self._then is None else max(now - self._then, 0.0)
        self._then = now
        target = self._settings.target(reaction, level)
        self._value = min(target, self._value + self._settings.rise * passed)
        return self._value
