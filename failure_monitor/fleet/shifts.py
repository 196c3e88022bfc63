# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The shifts of a day, by local time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from failure_monitor.errors import UsageError

FIRST_TIME = datetime(2000, 1, 1).timestamp()
"""What is stamped earlier comes from a clock that was never set."""

LEAD = 86_400.0
"""Seconds by which a robot's clock may be ahead."""


@dataclass(frozen=True, order=True)
class Shift:
    """One shift.

    Attributes:
        date: the day on which it begins, such as `2026-11-29`.
        hour: when, by local time.
    """

    date: str
    hour: int

    def __str__(self) -> str:
        return f"{self.date} {self.hour:02d}:00"


@dataclass(frozen=True)
class ShiftPlan:
    """When shifts begin.

    Attributes:
        hours: ascending, from 0 to 23.
        now: what is stamped a day later than this comes from a wrong clock, in seconds since 1970.
    """

    hours: tuple[int, ...]
    now: float

    @classmethod
    def read(cls, text: str, now: float) -> ShiftPlan:
        """Return the plan of a text such as `6,14,22`.

        Raises:
            UsageError: it is no list of different hours.
        """
        try:
            hours = sorted(int(part) for part in text.split(","))
        except ValueError:
            hours = []
        if not hours or len({*hours}) < len(hours) or not 0 <= hours[0] <= hours[-1] <= 23:
            raise UsageError(
                f"'--shift-hours {text}' is no list of different hours from 0 to 23: write the "
                "hours at which shifts begin, such as 6,14,22"
            )
        return cls(tuple(hours), now)

    def shift(self, time: float) -> Shift | None:
        """Return the shift of a time, in seconds since 1970; None where no clock can be right."""
        if not FIRST_TIME <= time <= self.now + LEAD:
            return None
        local = datetime.fromtimestamp(time)
        begun = [hour for hour in self.hours if hour <= local.hour]
        if begun:
            return Shift(f"{local:%Y-%m-%d}", begun[-1])
        return Shift(f"{local - timedelta(days=1):%Y-%m-%d}", self.hours[-1])
