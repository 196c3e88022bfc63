# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The rollouts of a session: what was claimed of each, and when it is known how it ended.

A rollout has ended when its last decisions that were on their way are scored. Success may also be
claimed while it goes on, or a little after its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from failure_monitor.monitoring.alarm import AlarmStatus
from failure_monitor.outcome.end_parts import LAST
from failure_monitor.outcome.rollout_end import RolloutEnd
from failure_monitor.rollout_log.record import RolloutRecord
from failure_monitor.ros.monitor.rollout_results import EndedRollout, RolloutResults
from failure_monitor.ros.monitor.running_rollout import Claim, RunningRollout
from failure_monitor.ros.monitor.scoring_worker import ScoringResult

LAST_DECISIONS = 1.0
"""Seconds after the end of a rollout for which its last decisions are still scored."""

CHECK_PERIOD = 1.0
"""Seconds from one check of a rollout that goes on to the next, however often it is claimed."""

CUT_OFF = "was cut off, as the monitor was deactivated"
NO_CLAIM, FAILURE_CLAIMED = "success was not claimed", "failure was claimed"
TAKEN_BACK = "the claim of success was taken back"
NEVER_RAN = "no rollout has run since the monitor was activated"


class WatchedRollouts:
    """The rollout that runs, or the one that ended last."""

    def __init__(
        self,
        results: RolloutResults,
        *,
        max_age: float,
        newest_wins: bool,
        unscored: Callable[[], int],
    ) -> None:
        """Wait for a rollout.

        Args:
            results: what keeps the rollouts that have ended, and checks how.
            max_age: seconds for which a decision of calibration was good.
            newest_wins: whether decisions may be left out by design.
            unscored: returns how many decisions of the present rollout were not scored.
        """
        self._results = results
        self._max_age = max_age
        self._compared = 0 if newest_wins else LAST
        self._unscored_now = unscored
        self._rollout: RunningRollout | None = None
        self._claim: Claim | None = None
        self._is_unchecked = False
        """Whether the end that was claimed is still to be known."""
        self._due: RolloutEnd | str | None = None
        """The end that is known and still to be checked, or why there is nothing to check."""
        self._checked_at = -CHECK_PERIOD
        self._ended_at: float | None = None
        self._ended = 0.0
        self._why_ended = ""
        self._unscored = 0
        self._cut_off = ""
        self._is_handed_on = False

    @property
    def is_running(self) -> bool:
        """Whether a rollout runs."""
        return self._rollout is not None and self._ended_at is None

    def start_rollout(self, blank: RolloutRecord, task: str, now: float) -> None:
        """Start a rollout of a task of the bundle; one that runs has ended without an outcome.

        Args:
            blank: its record as far as it is known.
            task: its task, by the bundle's promises.
            now: the time.
        """
        self._end(now, "the next rollout started")
        self._hand_on()
        self._results.start_rollout(blank.rollout, now)
        self._rollout = RunningRollout(blank, task, now)
        self._claim, self._is_unchecked, self._due = None, False, None
        self._ended_at, self._cut_off, self._is_handed_on = None, "", False

    def update(self, result: ScoringResult[Any]) -> None:
        """Receive the result of scoring a decision."""
        if self._rollout is not None and not self._is_handed_on:
            self._rollout.update(result)
            # At once: a decision more would be none of the end that was claimed.
            self._check_claim(result.received)

    def observe(self, status: AlarmStatus, now: float) -> None:
        """Receive the state of the alarm."""
        if self._rollout is not None and self._ended_at is None:
            self._rollout.observe(status, now)

    def intervene(self) -> None:
        """Receive that a human acted."""
        if self._rollout is not None:
            self._rollout.had_intervention = True

    def claim(self, claim: Claim) -> None:
        """Receive that success is claimed of the rollout that goes on, or no longer is.

        Of one that has ended without a claim, it may still be claimed.
        """
        if not self.is_running:
            if claim.success:
                self.claim_ended(claim)
            return
        if self._rollout is not None and self._claim is not None and not claim.success:
            record = self._record(self._rollout, replace(claim, success=None))
            self._results.check(record, self._rollout.task, TAKEN_BACK)
        self._claim = claim if claim.success else None
        self._is_unchecked, self._due = self._claim is not None, None
        self._check_claim(claim.time)

    def end_rollout(self, claim: Claim, why: str) -> None:
        """End the rollout that runs.

        Args:
            claim: what is said of its end.
            why: why it ended, where nothing is said of it.
        """
        if not self.is_running:
            return
        self._end(claim.time, why)
        if claim.success is not None or self._claim is None:
            self._claim, self._is_unchecked, self._due = claim, True, None

    def claim_ended(self, claim: Claim) -> str:
        """Receive what is said of the rollout that has ended; return why that is too late.

        Args:
            claim: what is said; repetitions change nothing.
        """
        if self._rollout is None:
            return NEVER_RAN
        known = None if self._claim is None else self._claim.success
        if known is not None:
            said = "success" if known else "failure"
            why = f"of the rollout that ended last {said} was claimed; correct that by ~/label"
            return "" if known == claim.success else why
        self._claim, self._is_unchecked = claim, True
        if self._is_handed_on:
            self._is_handed_on = False
            self._hand_on()
        return ""

    def check_end(self, now: float) -> None:
        """Hand on a rollout whose last decisions are scored by now; called at every heartbeat."""
        self._check_claim(now)
        if self._ended_at is None or self._is_handed_on:
            return
        if not self._is_unchecked or now - self._ended_at >= LAST_DECISIONS:
            self._hand_on()

    def close(self) -> None:
        """Hand on the last rollout at once; one that still runs was cut off."""
        if self.is_running:
            self._cut_off = CUT_OFF
        self._end(time.monotonic(), CUT_OFF)
        self._hand_on()

    def _end(self, now: float, why: str) -> None:
        if self.is_running:
            self._ended_at, self._ended, self._why_ended = now, time.time(), why
            self._unscored = self._unscored_now()
            self._results.stop_rollout(now)

    def _check_claim(self, now: float) -> None:
        """Have the end checked that was claimed, once its decisions are scored."""
        if self._rollout is None or self._claim is None:
            return
        if self._is_unchecked and (
            self._rollout.is_scored(self._claim) or now - self._claim.time >= LAST_DECISIONS
        ):
            self._is_unchecked, self._due = False, self._end_of(self._claim)
        # The last one in any case: what was claimed before is none of what it says.
        if not self.is_running or now - self._checked_at >= CHECK_PERIOD:
            self._check_due(self._rollout, self._claim, now)

    def _check_due(self, rollout: RunningRollout, claim: Claim, now: float) -> None:
        if self._due is not None:
            end, self._due, self._checked_at = self._due, None, now
            self._results.check(self._record(rollout, claim), rollout.task, end)

    def _end_of(self, claim: Claim) -> RolloutEnd | str:
        """Return the end that was claimed, or why it cannot be judged."""
        assert self._rollout is not None
        if not claim.success:
            return NO_CLAIM if claim.success is None else FAILURE_CLAIMED
        return self._rollout.end_at(claim, compared=self._compared, max_age=self._max_age)

    def _hand_on(self) -> None:
        rollout = self._rollout
        if rollout is None or self._ended_at is None or self._is_handed_on:
            return
        self._is_handed_on = True
        claim = self._claim or Claim(None, self._ended_at, 0)
        if self._is_unchecked or self._claim is None:
            self._claim, self._is_unchecked = claim, False
            self._due = self._end_of(claim)
        self._check_due(rollout, claim, self._ended_at)
        self._results.end_rollout(
            EndedRollout(
                self._record(rollout, claim),
                rollout.finished,
                why_left_out="" if rollout.had_intervention else self._cut_off,
            )
        )

    def _record(self, rollout: RunningRollout, claim: Claim) -> RolloutRecord:
        has_ended = self._ended_at is not None
        return rollout.record(
            claim.success,
            why_ended=self._why_ended if has_ended else "",
            ended=self._ended if has_ended else time.time(),
            unscored=self._unscored if has_ended else self._unscored_now(),
        )
