# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the ROS clock goes on evenly, as seen from a monotonic one.

Nothing is measured by the ROS clock but how far stamps lie from it; so a jump harms nothing by
itself, and is told since it explains what stamps do next.
"""

from __future__ import annotations

from collections.abc import Sequence

LARGEST_STEP = 0.5
"""Seconds by which the clocks may drift apart between two looks."""


class ClockWatch:
    """Compares the ROS clock with a monotonic one, from time to time."""

    def __init__(self, *, is_simulated: bool) -> None:
        """Before the first look.

        Args:
            is_simulated: whether the clock is that of a simulation or recording, which runs at any
                rate; it jumps only if it goes back.
        """
        self.jumps = 0
        """How often the clock jumped."""
        self._is_simulated = is_simulated
        self._last: tuple[float, float] | None = None

    def look(self, monotonic: float, clock: float) -> str:
        """Take both times, in seconds; say what happened since the last look, empty if nothing."""
        last, self._last = self._last, (monotonic, clock)
        if last is None:
            return ""
        step = clock - last[1]
        drift = step - (0.0 if self._is_simulated else monotonic - last[0])
        if drift < -LARGEST_STEP or (drift > LARGEST_STEP and not self._is_simulated):
            self.jumps += 1
            return f"the ROS clock jumped by {drift:+.3g} s"
        return ""

    def problems(self, clock: float) -> Sequence[str]:
        """Why nothing can be said of stamps now, if that is so."""
        if self._is_simulated and clock == 0:
            return ("use_sim_time is true, and no time has come on '/clock'",)
        return ()
