# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Of which observations decisions are made, where cameras are faster than the policy."""

from __future__ import annotations

SLACK = 0.1
"""How much of a decision's period a frame may be early."""


class ObservationRate:
    """Thins observations out by their stamps, beside the robot as in a recording of it."""

    def __init__(self, rate: float | None) -> None:
        """Before the first observation.

        Args:
            rate: decisions per second; None for one of every observation.
        """
        self._period = 0 if rate is None else round((1 - SLACK) * 1e9 / rate)
        self._last: int | None = None

    def accepts(self, stamp: int) -> bool:
        """Whether an observation of this stamp, in nanoseconds, makes a decision."""
        if self._last is not None and 0 <= stamp - self._last < self._period:
            return False
        self._last = stamp
        return True
