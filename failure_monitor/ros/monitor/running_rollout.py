# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a monitor gathers of one rollout, from its start until its last decisions are scored."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from failure_monitor.monitoring.alarm import AlarmState, AlarmStatus
from failure_monitor.outcome.rollout_end import LAST_DECISIONS, EndKeeper, RolloutEnd
from failure_monitor.promise.finished_rollout import FinishedRollout, LargestValues
from failure_monitor.rollout_log.record import Outcome, RolloutRecord
from failure_monitor.ros.monitor.scoring_worker import ScoringResult

LARGEST_LEVEL = 1e9
"""Level that stands for all above it: a record holds no infinity."""

HUMAN_ACTED = "a human acted in the rollout"


@dataclass(frozen=True)
class Claim:
    """What was said of the end of a rollout.

    Attributes:
        success: whether success was claimed; None if nothing was.
        time: when, in seconds of the monotonic clock.
        received: how many decisions of the rollout had been received by then.
        hindrance: why the end says nothing of the policy, such as a halt; empty if it does.
    """

    success: bool | None
    time: float
    received: int
    hindrance: str = ""


class RunningRollout:
    """One rollout, from its start until its last decisions are scored."""

    def __init__(self, blank: RolloutRecord, task: str, now: float) -> None:
        """Start a rollout.

        Args:
            blank: its record as far as it is known at the start.
            task: its task, by the bundle's promises.
            now: the time, in seconds of the monotonic clock.
        """
        self.task = task
        self.had_intervention = False
        self._blank = blank
        self._began = now
        self._largest = LargestValues(task)
        self._end = EndKeeper()
        self._numbers: deque[int] = deque(maxlen=LAST_DECISIONS)
        self._scored = 0
        self._last_received: float | None = None
        self._was: AlarmStatus | None = None
        self._alarm: float | None = None
        self._alarms = 0
        self._stopped = False

    @property
    def name(self) -> str:
        """Its name in the rollout log."""
        return self._blank.rollout

    def update(self, result: ScoringResult[Any]) -> None:
        """Receive the result of scoring a decision."""
        if result.verdict is not None:
            self._largest.update(result.verdict)
            self._scored += 1
        elif result.decision is not None and result.error is None:
            self._largest.exceed()
        if result.decision is not None:
            self._end.update(result.decision)
            self._numbers.append(result.number)
            self._last_received = result.received

    def observe(self, status: AlarmStatus, now: float) -> None:
        """Receive the state of the alarm."""
        was, self._was = self._was, status
        if was is None:
            # A rollout may begin while a halt is still latched, which is none of its own.
            return
        if status.state is AlarmState.ALARM and was.state is not AlarmState.ALARM:
            self._alarms += 1
            if self._alarm is None:
                self._alarm = now - self._began
        self._stopped |= status.halted and not was.halted

    def is_scored(self, claim: Claim) -> bool:
        """Return whether all decisions that had been received by a claim are scored."""
        return not claim.received or (
            bool(self._numbers) and self._numbers[-1] >= claim.received - 1
        )

    @property
    def finished(self) -> FinishedRollout | None:
        """Its largest values; None without a scored decision."""
        return self._largest.finished

    def end_at(self, claim: Claim, *, compared: int, max_age: float) -> RolloutEnd | str:
        """Return its end as of a claim of success, or why that cannot be judged.

        Args:
            claim: the claim.
            compared: number of the last decisions that must be known without a gap; 0 where
                decisions may be left out by design.
            max_age: seconds for which a decision of calibration was good.
        """
        if self.had_intervention:
            return HUMAN_ACTED
        if claim.hindrance:
            return claim.hindrance
        end = self._end.end
        if end is None or self._last_received is None:
            return "it has no decision"
        age = claim.time - self._last_received
        if age > max_age:
            return (
                f"success was claimed {age:.1f} s after the last decision, and decisions are good "
                f"for {max_age:g} s: what the robot did since is not known"
            )
        known = list(self._numbers)[-compared:] if compared else [claim.received - 1]
        expected = range(max(claim.received - compared, 0), claim.received)
        if (known != list(expected)) if compared else not self.is_scored(claim):
            return "its last decisions were not all scored, so its end is not known"
        return replace(end, length=claim.received)

    def record(
        self, success: bool | None, *, why_ended: str, ended: float, unscored: int
    ) -> RolloutRecord:
        """Return what is known of it.

        Args:
            success: what was claimed; None if nothing was.
            why_ended: why it ended, where that was no claim.
            ended: when it ended, in seconds since 1970.
            unscored: how many of its decisions were not scored.
        """
        finished = self.finished
        scores = {} if finished is None else finished.scores
        return replace(
            self._blank,
            ended=ended,
            decisions=self._scored,
            unscored=unscored,
            level=None if finished is None else min(finished.level, LARGEST_LEVEL),
            rollouts_below=None if finished is None else finished.rollouts_below,
            score=max(scores, key=lambda name: scores[name], default=""),
            alarm=self._alarm,
            alarms=self._alarms,
            stopped=self._stopped,
            intervention=self.had_intervention,
            claim=as_outcome(success),
            why_ended=why_ended if success is None else "",
        )


def as_outcome(success: bool | None) -> Outcome | None:
    """Return the word for an outcome; None if it is not known."""
    if success is None:
        return None
    return "success" if success else "failure"
