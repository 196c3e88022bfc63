# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether decisions come as often as in calibration, or some may be missing.

That observations are embedded and no decision on them arrives may be meant, or the decision may be
missing: nothing but the time between decisions shows which. Decisions that come much more often
are of a policy that is executed in another way than in calibration. Times are seconds of a
monotonic clock.
"""

from __future__ import annotations

from collections import deque
from statistics import median

LATE = 2.5
"""Factor of the longest time between two decisions of calibration above which a gap is late."""

WINDOW, WINDOW_GAPS = 10.0, 20.0
"""Seconds for which late gaps are remembered, and as a multiple of the longest of calibration."""

OFTEN, OFTEN_GAPS = 0.4, 20
"""Share of the usual time between decisions of calibration below which they come too often, and
the number of gaps in a row of which that is the median."""

MAX_LATE = 2
"""Number of late gaps in that time that a busy machine may cause."""


class DecisionPace:
    """The times between the decisions of a rollout."""

    def __init__(self, longest: float, usual: float = 0.0) -> None:
        """Start without a decision.

        Args:
            longest: the longest time between two decisions in calibration; 0 if it is unknown.
            usual: the usual time between two decisions in calibration; 0 if it is unknown.
        """
        self._longest = longest
        self._usual = usual
        self._window = max(WINDOW, WINDOW_GAPS * longest)
        self.start_rollout()

    def start_rollout(self) -> None:
        """Start a rollout: the time before its first decision is no gap."""
        self._last: float | None = None
        self._late: deque[tuple[float, float]] = deque()
        self._gaps: deque[float] = deque(maxlen=OFTEN_GAPS)

    def add(self, now: float) -> None:
        """Receive a decision."""
        before, self._last = self._last, now
        if before is not None:
            gap = now - before
            self._gaps.append(gap)
            if self._longest and gap > LATE * self._longest:
                self._late.append((now, gap))
        self._forget(now)

    def warning(self, now: float) -> str:
        """Return that decisions come too seldom or too often; empty if they do not."""
        self._forget(now)
        if len(self._late) <= MAX_LATE:
            return self._too_often()
        return (
            f"{len(self._late)} times in {self._window:g} s a decision came up to "
            f"{max(gap for _, gap in self._late):.2g} s after the one before, in calibration at "
            f"most {self._longest:.2g} s: action chunks are missing, or the policy is slower"
        )

    def _too_often(self) -> str:
        gap = median(self._gaps) if len(self._gaps) == OFTEN_GAPS else self._usual
        if gap >= OFTEN * self._usual:
            return ""
        return (
            f"a decision comes every {gap:.2g} s, in calibration every {self._usual:.2g} s: the "
            "policy's chunks are executed in another way; calibrate as it runs "
            "(docs/execution.md)"
        )

    def _forget(self, now: float) -> None:
        while self._late and now - self._late[0][0] > self._window:
            self._late.popleft()
