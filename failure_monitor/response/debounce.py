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
        self._holds = False
        self.overs = 0
        """How many decisions in a row were over, up to the last one."""
        self._unders = 0

    def hear(self, over: bool) -> bool:
        """Take the next decision; whether the alarm holds after it."""
        self.overs = self.overs + 1 if over else 0
        self._unders = 0 if over else self._unders + 1
        if self._holds:
            self._holds = self._unders < self._release
        else:
            self._holds = self.overs >= self._trigger
        return self._holds
