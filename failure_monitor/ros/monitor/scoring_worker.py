# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Makes decisions from observations and scores them, on a thread of its own.

Slow models and scores therefore never delay the heartbeat. The newest observation wins: one that
comes while another is scored replaces the one that waits, and counts as a missed decision.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from failure_monitor.decision import Decision, Verdict
from failure_monitor.errors import FailureMonitorError
from failure_monitor.monitoring.monitor import FailureMonitor
from failure_monitor.ros.common.newest_wins_worker import NewestWinsWorker

Observation = TypeVar("Observation")

TIMED_DECISIONS = 100
"""Number of the last decisions whose scoring time is reported."""


@dataclass(frozen=True, eq=False)
class ScoringResult(Generic[Observation]):
    """The result of scoring one observation.

    Attributes:
        observation: the observation as it was submitted.
        received: when it was complete, in seconds of the monotonic clock.
        decision: the decision that was made from it; None if that failed.
        verdict: None if the decision could not be scored.
        fault: why not; empty otherwise.
        error: what was raised, where that was not the observation's fault.
    """

    observation: Observation
    received: float
    decision: Decision | None
    verdict: Verdict | None
    fault: str = ""
    error: Exception | None = None


@dataclass(frozen=True)
class _Job(Generic[Observation]):
    observation: Observation
    received: float
    missed: int
    rollout: int
    task: str


class ScoringWorker(Generic[Observation]):
    """Runs a `FailureMonitor`, and the models before it, on a thread of its own."""

    def __init__(
        self,
        decide: Callable[[Observation], Decision],
        start_monitor: Callable[[str], FailureMonitor],
        wake: Callable[[], None],
    ) -> None:
        """Start the thread.

        Args:
            decide: makes a decision from an observation; called only by the thread.
            start_monitor: returns the monitor for a rollout of a task; called only by the thread.
            wake: called by the thread whenever a result waits to be collected.
        """
        self.skipped = 0
        """Number of observations that a newer one replaced before they were scored."""
        self.scored = 0
        """Number of decisions with a verdict."""
        self._decide = decide
        self._start_monitor = start_monitor
        self._wake = wake
        self._rollout, self._task = 0, ""
        self._lock = threading.Lock()
        self._results: deque[tuple[int, ScoringResult[Observation]]] = deque()
        self._seconds: deque[float] = deque(maxlen=TIMED_DECISIONS)
        # Used only by the thread.
        self._monitor: FailureMonitor | None = None
        self._monitored_rollout = -1
        self._unscored = 0
        self._worker = NewestWinsWorker("scoring", self._work, merge=self._skip)
        self._worker.start()

    def submit(self, observation: Observation, received: float, missed: int = 0) -> None:
        """Score an observation as soon as the present one is scored.

        Args:
            observation: the argument of `decide`.
            received: when it was complete, in seconds of the monotonic clock.
            missed: number of decisions before it that cannot be scored.
        """
        self._worker.submit(_Job(observation, received, missed, self._rollout, self._task))

    def start_rollout(self, task: str) -> None:
        """Start a rollout of a task with the next decision; earlier results are dropped."""
        self._worker.clear()
        with self._lock:
            self._rollout += 1
            self._task = task

    def collect(self) -> list[ScoringResult[Observation]]:
        """Return the results of this rollout since the last call, oldest first."""
        with self._lock:
            results = [result for rollout, result in self._results if rollout == self._rollout]
            self._results.clear()
        return results

    def seconds(self) -> list[float]:
        """Return how long the last decisions took, models and scores together."""
        with self._lock:
            return list(self._seconds)

    def stop(self) -> None:
        """End the thread after the present decision."""
        self._worker.stop()

    def _skip(self, waiting: _Job[Observation], newer: _Job[Observation]) -> _Job[Observation]:
        self.skipped += 1
        return replace(newer, missed=newer.missed + waiting.missed + 1)

    # What follows runs on the thread.

    def _work(self, job: _Job[Observation]) -> None:
        start = time.monotonic()
        if job.rollout != self._monitored_rollout:
            self._monitored_rollout, self._monitor, self._unscored = job.rollout, None, 0
        self._unscored += job.missed
        result = self._score(job)
        with self._lock:
            self._seconds.append(time.monotonic() - start)
            self.scored += result.verdict is not None
            self._results.append((job.rollout, result))
        self._wake()

    def _score(self, job: _Job[Observation]) -> ScoringResult[Observation]:
        decision = None
        try:
            monitor = self._up_to_date_monitor(job.task)
            decision = self._decide(job.observation)
            verdict = monitor.update(decision)
            return ScoringResult(job.observation, job.received, decision, verdict)
        except FailureMonitorError as error:
            fault, unexpected = str(error), None
        except Exception as error:
            # Whatever a model or score raises is a fault, which permits no commands.
            fault, unexpected = f"the scoring failed: {type(error).__name__}: {error}", error
        self._unscored += 1
        return ScoringResult(job.observation, job.received, decision, None, fault, unexpected)

    def _up_to_date_monitor(self, task: str) -> FailureMonitor:
        """Return the rollout's monitor, which knows how many decisions were not scored."""
        if self._monitor is None:
            self._monitor = self._start_monitor(task)
        if self._unscored:
            self._monitor.skip(self._unscored)
            self._unscored = 0
        return self._monitor
