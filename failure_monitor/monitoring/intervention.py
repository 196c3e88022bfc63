# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a human intervenes, by what is published about it.

A state, true or false, holds until the opposite is said: a publisher that falls silent, dies or is
cut off while it is true has not said that the human let go. Activity ends by itself, as whoever
moves nothing any more says nothing any more.

Nothing here reads a clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations


class Intervention:
    """What one topic says of a human who intervenes; the strictest of what it says counts."""

    def __init__(self, topic: str, lasting: float | None) -> None:
        """Start without a human.

        Args:
            topic: the topic, for the reasons.
            lasting: seconds for which activity counts; None where the topic publishes a state.
        """
        self._topic = topic
        self._lasting = lasting
        self._holds = False
        self._active_at = float("-inf")

    def update(self, active: bool, now: float, *, contested: bool = False) -> bool:
        """Receive a message; return whether a human intervenes by it.

        Args:
            active: whether a human intervenes, or is active, by this message.
            now: the time of reception.
            contested: whether the topic has several publishers: then a state that one of them
                holds true is not ended by another that says false.
        """
        if active:
            self._active_at = now
        if self._lasting is None:
            self._holds = active or (self._holds and contested)
        return active

    def lose(self, now: float) -> None:
        """Record that messages were lost or cannot be read: one may have been of a human."""
        self.update(True, now)

    def holds(self, now: float) -> bool:
        """Return whether a human intervenes at this moment."""
        if self._lasting is None:
            return self._holds
        return now - self._active_at < self._lasting

    def reason(self, now: float) -> str:
        """Return that a human intervenes, and by what that is known; empty if none does."""
        return self.last_reason if self.holds(now) else ""

    @property
    def last_reason(self) -> str:
        """By what a human is known to intervene, when one does."""
        if self._lasting is None:
            return f"a human intervenes: '{self._topic}' is true"
        return f"a human intervenes: there is activity on '{self._topic}'"
