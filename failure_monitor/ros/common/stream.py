# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of one topic: their rate, their stamps, and how many were lost.

The time of reception, in seconds of a monotonic clock, is an argument. Stamps are whole
nanoseconds of the publisher's clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError

MAX_MESSAGES = 512
"""Maximum number of messages over which rates are measured."""

WINDOW = 10.0
"""Maximum number of seconds over which rates are measured."""

MIN_GAPS = 8
"""Minimum number of times between messages from which a period is measured."""

MAX_OFF_GRID = 0.15
"""Distance from a multiple of the period up to which a message is on it, in periods."""

MIN_SHARE_ON_GRID = 0.8
"""Share of messages on multiples of the period below which there is no period."""

MAX_LOST_IN_A_ROW = 12
"""Maximum number of messages lost in a row with which the period is still found; a longer gap is a
pause, and no loss."""

MAX_LOST = 1_000_000
"""Maximum number of messages that count as lost before one: more are of another publisher."""

MAX_PAUSES = 3
"""Maximum number of pauses while rates are measured: more gaps of that length are losses."""

CLOCK_JUMP = 0.25
"""Seconds by which stamps may go back before the clock counts as set back."""

PAUSE = 3.0
"""Seconds of silence after which the rate of reception is measured again."""

OUT_OF_ORDER = (
    "its stamp is older than that of the decision before: publish decisions in the order of their "
    "observations, and see that no clock is set back"
)
REPEATED = (
    "it has the stamp of the decision before: stamp each with an observation of its own, or "
    "decide no more often than observations come"
)

MAX_LOST_SHARE = 0.2
"""Share of lost messages above which a topic is reported."""


class StampError(FailureMonitorError):
    """A stamp that cannot be that of a recent observation."""


class ClockSetBackError(StampError):
    """Stamps that went back by more than messages come out of order."""


@dataclass(frozen=True)
class StampLimits:
    """How far a stamp may lie from this machine's clock.

    Attributes:
        lead: seconds ahead of it.
        age: seconds behind it; 0 for any age, where clocks of machines are not synchronised.
    """

    lead: float
    age: float = 0.0


class Stream:
    """The messages of one topic."""

    def __init__(self, topic: str) -> None:
        """Start without any message.

        Args:
            topic: its full name.
        """
        self.topic = topic
        self.received = 0
        """Number of messages."""
        self.rejected = 0
        """Number of messages that are malformed or have an invalid stamp."""
        self.repeated = 0
        """Number of messages with the stamp of the previous one."""
        self.out_of_order = 0
        """Number of messages that were older than the previous one."""
        self.lost = 0
        """Number of messages that the middleware has lost, as far as it numbers them."""
        self._recent: deque[tuple[float, int]] = deque(maxlen=MAX_MESSAGES)
        self._last_received: float | None = None
        self._last_stamp: int | None = None
        self._last_number: int | None = None

    def start_rollout(self) -> None:
        """Accept stamps that start again, and measure rates from now on."""
        self._last_stamp = self._last_number = None
        self._recent.clear()

    def restart(self) -> None:
        """Accept stamps that start again, because a clock was set back."""
        self._last_stamp = None

    def count_lost(self, number: int | None) -> int:
        """Return how many messages were lost before this one, and count them.

        Args:
            number: its number among those of the only publisher; None if it is unknown.
        """
        before, self._last_number = self._last_number, number
        # A number that does not rise is of another publisher, of which nothing is known yet.
        if number is None or before is None or number <= before:
            return 0
        lost = min(number - before - 1, MAX_LOST)
        self.lost += lost
        return lost

    def add(self, now: float, stamp: int = 0) -> None:
        """Count a message; a stamp of 0 means that it has none."""
        if self.is_silent(now, PAUSE):
            self._recent.clear()
        while self._recent and now - self._recent[0][0] > WINDOW:
            self._recent.popleft()
        self.received += 1
        self._last_received = now
        self._recent.append((now, stamp))

    def why_not_next(self, stamp: int, clock: int, limits: StampLimits) -> str:
        """Return why a message is not newer than those before, and count it; empty if it is.

        Args:
            stamp: the stamp of the message.
            clock: this machine's ROS clock, in nanoseconds; 0 if it has no time yet.
            limits: how far stamp and clock may lie apart.

        Raises:
            ClockSetBackError: the stamps went back too far; `restart` accepts the new ones.
            StampError: the stamp is missing or invalid.
        """
        _check_against_clock(stamp, clock, limits)
        before = self._last_stamp
        if before is None or stamp > before:
            self._last_stamp = stamp
            return ""
        if stamp < before - CLOCK_JUMP * 1e9:
            raise ClockSetBackError(
                f"the stamps went back by {1e-9 * (before - stamp):.3g} s: the clock of their "
                "publisher was set back, or a recording started again; call ~/reset to go on"
            )
        self.repeated += stamp == before
        self.out_of_order += stamp < before
        return REPEATED if stamp == before else OUT_OF_ORDER

    def age(self, now: float) -> float | None:
        """Return the seconds since the last message; None before the first."""
        return None if self._last_received is None else now - self._last_received

    def is_silent(self, now: float, limit: float) -> bool:
        """Return whether no message came for more than `limit` seconds, or at all."""
        return self._last_received is None or now - self._last_received > limit

    def received_rate(self, now: float) -> float:
        """Return the recent number of messages per second; 0 if they are too few or long ago."""
        if len(self._recent) < 2:
            return 0.0
        first, last = self._recent[0][0], self._recent[-1][0]
        period = (last - first) / (len(self._recent) - 1)
        # The rate falls when messages cease, not already when one is late.
        return 1 / max(period, (now - last) / 2, 1e-6)

    def stamped_rate(self) -> float:
        """Return the number of published messages per second, by their stamps; 0 if unknown.

        The stamps of a periodic publisher lie on a grid, whatever was lost. Those of an irregular
        one lie on none, and those of several publishers together mean nothing.
        """
        period = _period(self._gaps())
        return 1 / period if period else 0.0

    def lost_share(self) -> float:
        """Return the recent share of published messages that did not arrive, from 0 to 1.

        Neither silence since the last message counts, nor a pause.
        """
        gaps = self._gaps()
        period = _period(gaps)
        if not period:
            return 0.0
        steps = np.round(gaps[gaps > 0] / period)
        steps = steps[steps > 0]
        is_pause = steps > MAX_LOST_IN_A_ROW + 1
        if is_pause.sum() <= MAX_PAUSES:
            steps = steps[~is_pause]
        return float(1 - len(steps) / steps.sum()) if len(steps) else 0.0

    def _gaps(self) -> NDArray[np.float64]:
        """Return the times between the stamps of recent messages, in seconds."""
        stamps = np.array([stamp for _, stamp in self._recent if stamp > 0], dtype=np.int64)
        return np.asarray(1e-9 * np.diff(stamps))


def _period(gaps: NDArray[np.float64]) -> float:
    """Return the longest time, in seconds, of which the gaps (N,) are multiples; 0 if none."""
    gaps = gaps[gaps > 0]
    if len(gaps) < MIN_GAPS:
        return 0.0
    for parts in range(1, MAX_LOST_IN_A_ROW + 1):
        rough = gaps.min() / parts
        short = gaps[gaps < 3.5 * rough] if parts == 1 else gaps[gaps < (parts + 2) * rough]
        period = float(short.sum() / np.round(short / rough).sum())
        multiples = gaps / period
        if np.mean(np.abs(multiples - np.round(multiples)) < MAX_OFF_GRID) >= MIN_SHARE_ON_GRID:
            return period
    return 0.0


def _check_against_clock(stamp: int, clock: int, limits: StampLimits) -> None:
    if stamp == 0:
        raise StampError("the header has no stamp: publish with the stamp of the observation")
    if clock == 0:
        return
    ahead = 1e-9 * (stamp - clock)
    if ahead > limits.lead:
        raise StampError(
            f"the stamp is {ahead:.3g} s ahead of this machine's clock: synchronise the clocks, "
            "set use_sim_time alike everywhere, or raise max_stamp_lead"
        )
    if limits.age and -ahead > limits.age:
        raise StampError(
            f"the stamp is {-ahead:.3g} s old: the observation is late, or the clocks are not "
            "synchronised, or use_sim_time is not alike everywhere; max_stamp_age is "
            f"{limits.age:g}"
        )
