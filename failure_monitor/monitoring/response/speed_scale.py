# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Speed scale: the nearer to the alarm, the slower, down to a share of the speed at the alarm.

With the rule's level l, 1 at the alarm, and x = (l − from) / (1 − from) clipped to [0, 1],

    speed(l) = 1 − (1 − slowest) (3x² − 2x³)

The scale falls at once and rises no faster than at a set rate.
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
    """The settings of the speed scale.

    Attributes:
        slow_from: the level above which the robot is slowed, in [0, 1).
        slowest: the speed scale at the alarm, in [0, 1].
        rise: the fastest rise of the scale, per second.
    """

    slow_from: float = DEFAULTS.slow_from
    slowest: float = DEFAULTS.slowest
    rise: float = DEFAULTS.rise

    def __post_init__(self) -> None:
        if not 0 <= self.slow_from < 1:
            raise UsageError(
                f"the robot cannot be slowed from level {self.slow_from:g} on, as the alarm is at "
                "1: choose a level from 0 to below 1"
            )
        if not 0 <= self.slowest <= 1:
            raise UsageError(
                f"the slowest speed scale is {self.slowest:g}, expected 0 to 1: choose one of "
                "these"
            )
        if not self.rise > 0:
            raise UsageError(
                f"a speed scale that rises by {self.rise:g} per second stays at 0: choose more"
            )

    def target(self, reaction: Reaction, level: float) -> float:
        """Return the speed scale of a reaction at a level of the rule; 0 if the level is NaN."""
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
    """The speed scale over time.

    It reads no clock: callers pass times, in seconds of a monotonic clock.
    """

    def __init__(self, settings: SpeedSettings) -> None:
        """Create a speed scale of 0."""
        self._settings = settings
        self._value = 0.0
        self._then: float | None = None

    def update(self, reaction: Reaction, level: float, now: float) -> float:
        """Return the speed scale at this moment, in [0, 1]; 0 while no command is permitted."""
        passed = 0.0 if self._then is None else max(now - self._then, 0.0)
        self._then = now
        target = self._settings.target(reaction, level)
        self._value = min(target, self._value + self._settings.rise * passed)
        return self._value
