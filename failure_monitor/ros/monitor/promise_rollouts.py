# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which of a monitor's rollouts say something of the promise, and what."""

from __future__ import annotations

from typing import Any

from failure_monitor.promise.finished_rollout import LargestValues
from failure_monitor.ros.monitor.scoring_worker import ScoringResult
from failure_monitor.ros.monitor.watched_promise import EndedRollout, WatchedPromise

LAST_DECISIONS = 1.0
"""Seconds after the end of a rollout for which its last decisions are still scored."""

FAILED, NO_OUTCOME, INTERVENTION = "failed", "has no outcome", "a human acted in it"
CUT_OFF = "was cut off, as the monitor was deactivated"


class PromiseRollouts:
    """The rollouts of a session, handed to the watched promise when they have ended."""

    def __init__(self, promise: WatchedPromise | None, *, without_outcome: bool) -> None:
        """Wait for a rollout.

        Args:
            promise: what watches; None if nothing does.
            without_outcome: whether a rollout without an alarm and an outcome is a success.
        """
        self._promise = promise
        self._without_outcome = without_outcome
        self._largest: LargestValues | None = None
        self._ended_at: float | None = None
        self._success: bool | None = None
        self._had_intervention = False

    def start_rollout(self, task: str) -> None:
        """Start a rollout of a task of the bundle; one that runs has ended without an outcome."""
        self._hand_on()
        self._largest = LargestValues(task)
        self._ended_at, self._success, self._had_intervention = None, None, False

    def update(self, result: ScoringResult[Any]) -> None:
        """Receive the result of scoring a decision."""
        if self._largest is None:
            return
        if result.verdict is not None:
            self._largest.update(result.verdict)
        elif result.decision is not None and result.error is None:
            self._largest.exceed()

    def intervene(self) -> None:
        """Receive that a human acted."""
        self._had_intervention = True

    def end_rollout(self, success: bool | None, now: float) -> None:
        """End the rollout that runs.

        Args:
            success: its outcome; None if nobody stated it.
            now: the time.
        """
        if self._largest is not None and self._ended_at is None:
            self._ended_at, self._success = now, success

    def check_end(self, now: float) -> None:
        """Hand on a rollout whose last decisions are scored by now; called at every heartbeat."""
        if self._ended_at is not None and now - self._ended_at >= LAST_DECISIONS:
            self._hand_on()

    def close(self) -> None:
        """Hand on the last rollout at once; one that still runs was cut off."""
        self._hand_on(CUT_OFF if self._ended_at is None else "")

    def _hand_on(self, cut_off: str = "") -> None:
        largest, self._largest, self._ended_at = self._largest, None, None
        if largest is None or self._promise is None:
            return
        finished = largest.finished
        reason = "" if self._success else FAILED
        if self._success is None:
            quiet = finished is not None and finished.level <= 1.0
            reason = "" if quiet and self._without_outcome else NO_OUTCOME
        if self._had_intervention:
            reason = INTERVENTION
        reason = cut_off or reason
        if finished is None and not reason:
            reason = "has no decision"
        self._promise.end_rollout(EndedRollout(finished, reason))
