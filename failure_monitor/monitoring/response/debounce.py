# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Debouncing: an alarm that one decision alone neither raises nor ends.

It is for verdicts only. An alarm of `trigger` decisions in a row is rarer than one of a single
decision, so the promised false-alarm rate still holds, and the alarm comes later.
"""

from __future__ import annotations


class Debounce:
    """Holds from the `trigger`-th decision in a row that is over to the `release`-th not over."""

    def __init__(self, *, trigger: int = 1, release: int = 1) -> None:
        """At a rollout's start.

        Args:
            trigger: how many decisions in a row must be over, 1 or more.
            release: how many in a row must not be, 1 or more.
        """
        self._trigger = trigger
        self._release = release
        self.start_rollout()

    def start_rollout(self) -> None:
        """Forget the past: nothing is over."""
        self.held = 0
        """For how many decisions in a row it has held, up to the last one."""
        self._overs = 0
        self._unders = 0

    @property
    def holds(self) -> bool:
        """Whether it holds."""
        return self.held > 0

    def update(self, over: bool) -> None:
        """Take the next decision."""
        self._overs = self._overs + 1 if over else 0
        self._unders = 0 if over else self._unders + 1
        goes_on = self._unders < self._release if self.holds else self._overs >= self._trigger
        self.held = self.held + 1 if goes_on else 0

    def reason(self, over: bool) -> str:
        """In what it differs from what the last decision alone says; empty if in nothing."""
        if over and not self.holds:
            return f"over for {self._overs} of {self._trigger} decisions that make an alarm"
        if self.holds and not over:
            return f"no longer over for {self._unders} of {self._release} decisions that end it"
        return ""
