# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Detects jumps of the ROS clock by comparison with a monotonic one.

The ROS clock only measures how far stamps lie from it. A jump is therefore harmless by itself, and
is logged because it explains what happens to stamps next.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_STEP = 0.5
"""Seconds by which the clocks may drift apart between two updates."""


class ClockWatch:
    """Compares the ROS clock with a monotonic one at every update."""

    def __init__(self, *, is_simulated: bool) -> None:
        """Start without any comparison.

        Args:
            is_simulated: whether the clock is that of a simulation or recording, which runs at any
                rate and jumps only if it goes back.
        """
        self.jumps = 0
        """Number of jumps."""
        self._is_simulated = is_simulated
        self._last: tuple[float, float] | None = None

    def update(self, monotonic: float, clock: float) -> str:
        """Compare both times, in seconds; return the jump since the last update, empty if none."""
        last, self._last = self._last, (monotonic, clock)
        if last is None:
            return ""
        step = clock - last[1]
        drift = step - (0.0 if self._is_simulated else monotonic - last[0])
        if drift < -MAX_STEP or (drift > MAX_STEP and not self._is_simulated):
            self.jumps += 1
            return f"the ROS clock jumped by {drift:+.3g} s"
        return ""

    def problems(self, clock: float) -> Sequence[str]:
        """Return why stamps cannot be checked now; empty if they can."""
        if self._is_simulated and clock == 0:
            return ("use_sim_time is true, and no time has come on '/clock'",)
        return ()
