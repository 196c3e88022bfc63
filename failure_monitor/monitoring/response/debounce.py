# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Debouncing: an alarm that a single decision neither raises nor ends.

It applies to verdicts only. An alarm of `trigger` decisions in a row is rarer than one of a single
decision, so the promised false-alarm rate still holds, but the alarm is later.
"""

from __future__ import annotations


class Debounce:
    """A count of decisions in a row that raise an alarm, and of those that end it.

    The alarm holds from the `trigger`-th decision in a row that calls for it, to the `release`-th
    in a row that does not.
    """

    def __init__(self, *, trigger: int = 1, release: int = 1) -> None:
        """Create the count, at a rollout's start.

        Args:
            trigger: number of decisions in a row that raise the alarm, 1 or more.
            release: number of decisions in a row that end it, 1 or more.
        """
        self._trigger = trigger
        self._release = release
        self.start_rollout()

    def start_rollout(self) -> None:
        """Start a rollout, without an alarm."""
        self.held = 0
        """Number of decisions in a row for which the alarm has held, up to the last one."""
        self._above = 0
        self._not_above = 0

    @property
    def holds(self) -> bool:
        """Whether the alarm holds."""
        return self.held > 0

    def update(self, calls_for_alarm: bool) -> None:
        """Count the next decision."""
        self._above = self._above + 1 if calls_for_alarm else 0
        self._not_above = 0 if calls_for_alarm else self._not_above + 1
        goes_on = self._not_above < self._release if self.holds else self._above >= self._trigger
        self.held = self.held + 1 if goes_on else 0

    def reason(self, calls_for_alarm: bool) -> str:
        """Return why the alarm differs from the last decision alone; empty if it does not."""
        if calls_for_alarm and not self.holds:
            return f"above the threshold for {self._above} of {self._trigger} decisions in a row"
        if self.holds and not calls_for_alarm:
            return (
                f"below the threshold for {self._not_above} of {self._release} decisions in a row"
            )
        return ""
