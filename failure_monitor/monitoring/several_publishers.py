# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a topic has several publishers, as its messages themselves show.

The middleware counts the publishers of a topic, but a message of a new one may be read before it
is counted, and one that is counted may be missing for a moment. It also numbers the messages of
each publisher one by one. A number that does not follow the last one is another publisher's, or
messages were lost: either way nobody knows that there is one publisher alone.

Nothing here reads a clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

CONTESTED_MEMORY = 2.5
"""Seconds for which several publishers are remembered, and for which the strictest of their
messages counts: longer than any monitor's heartbeat period, so that none is forgotten between two
of its messages."""


class SeveralPublishers:
    """What is known of the publishers of one topic."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._seen_at = float("-inf")

    def update(self, number: int | None, count: int, now: float) -> bool | None:
        """Receive a message; return whether there were several publishers recently.

        Args:
            number: the message's number among those of its publisher; None if it is unknown.
            count: how many publishers the middleware counts.
            now: when the message was received.

        Returns:
            Whether there were; None if it is unknown, as without numbers a new publisher shows
            only once it is counted.
        """
        last, self._number = self._number, number
        follows = None if last is None or number is None else number == last + 1
        if count > 1 or follows is False:
            self._seen_at = now
        if now - self._seen_at < CONTESTED_MEMORY:
            return True
        return None if follows is None else False
