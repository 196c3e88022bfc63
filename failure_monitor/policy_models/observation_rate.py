# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The rate of decisions, where cameras are faster than the policy."""

from __future__ import annotations

SLACK = 0.1
"""Share of a decision's period by which an image may be early."""


class ObservationRate:
    """A filter of observations by their stamps, the same on the robot and on its recording."""

    def __init__(self, rate: float | None) -> None:
        """Create the filter, before the first observation.

        Args:
            rate: the number of decisions per second; None for a decision at every observation.
        """
        self._period = 0 if rate is None else round((1 - SLACK) * 1e9 / rate)
        self._last: int | None = None

    def accepts(self, stamp: int) -> bool:
        """Return whether a decision is made at the observation of this stamp, in nanoseconds."""
        if self._last is not None and 0 <= stamp - self._last < self._period:
            return False
        self._last = stamp
        return True
