# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether an operator is to be told of a state anew: in a log, or line by line in a terminal.

The reason of a state that permits commands, and of an alarm, has scores, which are others at every
decision. That of `STALE` is the cause that has to be removed, so another cause is told, too.
Nothing here reads a clock: callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

from failure_monitor.monitoring.alarm import AlarmState

State = TypeVar("State")

SETTLING = 1.0
"""Seconds from when another cause than the told one first shows until the present one is told. So
one that lasts for a moment is not told at once, and causes that alternate are once a second."""

NUMBER = re.compile(r"\b\d+(\.\d+)?\b")
"""Ages and counts grow while the cause is the same."""


def stale_reason(state: AlarmState, reason: str, now: str) -> str:
    """Return why a state is `STALE`, or would be if no halt were latched; empty if it is not.

    Args:
        state: the alarm's state.
        reason: its reason.
        now: while a halt is latched, the state as if none were, with its reason.
    """
    is_now_stale = now.startswith(f"{AlarmState.STALE.value}: ")
    beside = f"now {now}" if is_now_stale and now.partition(": ")[2] not in reason else ""
    if state is not AlarmState.STALE:
        return beside
    return "; ".join(filter(None, (reason, beside)))


class ToldState(Generic[State]):
    """The state and the reason that were told last."""

    def __init__(self) -> None:
        """Start with nothing told."""
        self.state: State | None = None
        """The state that was told last; None before the first."""
        self._reason = ""
        self._differs_since: float | None = None

    def is_new(self, state: State, reason: str, now: float) -> bool:
        """Return whether to tell it: another state at once, another reason if it lasts.

        Args:
            state: what is told at once where it changes.
            reason: why, as far as a change of it matters; numbers do not.
            now: the time.
        """
        cause = NUMBER.sub("#", reason)
        if state == self.state:
            if cause == self._reason:
                return False
            if self._differs_since is None:
                self._differs_since = now
            if now - self._differs_since < SETTLING:
                return False
        self.state, self._reason, self._differs_since = state, cause, None
        return True
