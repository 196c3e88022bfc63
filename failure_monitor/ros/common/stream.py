# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What came on one topic: how often, how stamped, how much of it was lost.

Pure: the time of reception, in seconds of a monotonic clock, is handed in. Stamps are whole
nanoseconds of the clock by which the publisher stamps.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError

REMEMBERED = 512
"""Messages over which rates are taken, at most."""

WINDOW = 10.0
"""Seconds over which they are taken, at most."""

FEWEST = 8
"""Messages that tell a period."""

ON_GRID = 0.15
"""How far off a multiple of the period a message may be, in periods."""

SHARE_ON_GRID = 0.8
"""Of the messages: if fewer are on it, there is no period."""

MOST_IN_A_ROW = 12
"""Messages lost in a row, at least once in a while fewer are."""

CLOCK_JUMP = 1.0
"""Seconds by which stamps may go back before they count as those of a clock that was set back."""

PAUSE = 3.0
"""Seconds of silence that are no loss: rates are taken anew after them."""

LOST_SHARE = 0.2
"""Of the messages that the stamps tell of: if more are lost, that is worth a word."""


class StampError(FailureMonitorError):
    """A stamp that cannot be that of an observation made just now."""


class ClockSetBackError(StampError):
    """Stamps that went back by more than messages come out of order."""


@dataclass(frozen=True)
class StampLimits:
    """How far a stamp may lie from this machine's clock, in seconds.

    Attributes:
        lead: ahead of it.
        age: behind it; 0 for any age, where clocks of several machines are not synchronised.
    """

    lead: float
    age: float = 0.0


class Stream:
    """The messages of one topic."""

    def __init__(self, topic: str) -> None:
        """Before the first message.

        Args:
            topic: its full name.
        """
        self.topic = topic
        self.received = 0
        """Messages in all."""
        self.refused = 0
        """Messages that could not be used: malformed, or with a stamp that cannot be."""
        self.repeated = 0
        """Messages with the stamp of the one before."""
        self.out_of_order = 0
        """Messages that were older than the one before."""
        self._recent: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        self._last_received: float | None = None
        self._last_stamp: int | None = None

    def start_rollout(self) -> None:
        """Stamps may begin anew."""
        self._last_stamp = None

    def hear(self, now: float, stamp: int = 0) -> None:
        """Count a message; a stamp of 0 is none."""
        if self.is_silent(now, PAUSE):
            self._recent.clear()
        while self._recent and now - self._recent[0][0] > WINDOW:
            self._recent.popleft()
        self.received += 1
        self._last_received = now
        self._recent.append((now, stamp))

    def is_next(self, stamp: int, clock: int, limits: StampLimits) -> bool:
        """Whether a message is newer than those before; if not, it is counted and of no use.

        Args:
            stamp: of the message.
            clock: what this machine's ROS clock says now, in nanoseconds; 0 if it says nothing.
            limits: how far they may lie apart.

        Raises:
            ClockSetBackError: the stamps went back too far; `start_rollout` accepts the new ones.
            StampError: there is no stamp, or it cannot be right.
        """
        _check_against_clock(stamp, clock, limits)
        before = self._last_stamp
        if before is None or stamp > before:
            self._last_stamp = stamp
            return True
        if stamp < before - CLOCK_JUMP * 1e9:
            raise ClockSetBackError(
                f"the stamps went back by {1e-9 * (before - stamp):.3g} s: the clock of their "
                "publisher was set back, or a recording began again; call ~/reset to go on"
            )
        self.repeated += stamp == before
        self.out_of_order += stamp < before
        return False

    def age(self, now: float) -> float | None:
        """Seconds since the last message; None before the first."""
        return None if self._last_received is None else now - self._last_received

    def is_silent(self, now: float, limit: float) -> bool:
        """Whether no message has come for more than `limit` seconds, or ever."""
        return self._last_received is None or now - self._last_received > limit

    def received_rate(self, now: float) -> float:
        """Messages per second, of late; 0 if the last ones are long ago or too few."""
        if len(self._recent) < 2:
            return 0.0
        first, last = self._recent[0][0], self._recent[-1][0]
        period = (last - first) / (len(self._recent) - 1)
        # The rate falls when messages cease, not already when one is late.
        return 1 / max(period, (now - last) / 2, 1e-6)

    def stamped_rate(self) -> float:
        """Messages per second that were made, as the stamps tell; 0 where they do not.

        The stamps of a publisher with a period lie on a grid, whatever was lost of it. Those of
        one that publishes now and then lie on none; those of several together mean nothing.
        """
        stamps = np.array([stamp for _, stamp in self._recent if stamp > 0], dtype=np.int64)
        period = _period(1e-9 * np.diff(stamps))
        return 1 / period if period else 0.0

    def lost_share(self, now: float) -> float:
        """How many of the messages that were made did not come, of late: 0 to 1."""
        made = self.stamped_rate()
        return max(0.0, 1 - self.received_rate(now) / made) if made else 0.0


def _period(gaps: NDArray[np.float64]) -> float:
    """The longest time, in seconds, of which the gaps (N,) are multiples; 0 if there is none."""
    gaps = gaps[gaps > 0]
    if len(gaps) < FEWEST:
        return 0.0
    for parts in range(1, MOST_IN_A_ROW + 1):
        rough = gaps.min() / parts
        short = gaps[gaps < 3.5 * rough] if parts == 1 else gaps[gaps < (parts + 2) * rough]
        period = float(short.sum() / np.round(short / rough).sum())
        multiples = gaps / period
        if np.mean(np.abs(multiples - np.round(multiples)) < ON_GRID) >= SHARE_ON_GRID:
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
