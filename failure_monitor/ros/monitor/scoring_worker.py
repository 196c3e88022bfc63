# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Makes decisions from observations and scores them, on a thread of its own.

Slow models and scores therefore never delay the heartbeat. Decisions that wait are scored in
order, in a bounded queue. Where the monitor itself decides on observations, the queue holds one,
so that the newest wins. Decisions come with their numbers in the rollout, so that a gap is known.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from failure_monitor.decision import Decision, Verdict
from failure_monitor.errors import FailureMonitorError
from failure_monitor.monitoring.monitor import FailureMonitor
from failure_monitor.ros.common.queue_worker import QueueWorker

Observation = TypeVar("Observation")

TIMED_DECISIONS = 100
"""Number of the last decisions whose scoring time is reported."""


@dataclass(frozen=True, eq=False)
class ScoringResult(Generic[Observation]):
    """The result of scoring one observation.

    Attributes:
        number: the decision's number in the rollout.
        observation: the observation as it was submitted.
        received: when it was complete, in seconds of the monotonic clock.
        decision: the decision that was made from it; None if that failed.
        verdict: None if the decision could not be scored.
        fault: why not; empty otherwise.
        error: what was raised, where that was not the observation's fault.
    """

    number: int
    observation: Observation
    received: float
    decision: Decision | None
    verdict: Verdict | None
    fault: str = ""
    error: Exception | None = None


@dataclass(frozen=True)
class _Job(Generic[Observation]):
    observation: Observation
    number: int
    received: float
    rollout: int
    task: str
    resumption: int


class ScoringWorker(Generic[Observation]):
    """Runs a `FailureMonitor`, and the models before it, on a thread of its own."""

    def __init__(
        self,
        decide: Callable[[Observation], Decision],
        start_monitor: Callable[[str], FailureMonitor],
        wake: Callable[[], None],
        *,
        capacity: int,
    ) -> None:
        """Start the thread.

        Args:
            decide: makes a decision from an observation; called only by the thread.
            start_monitor: returns the monitor for a rollout of a task; called only by the thread.
            wake: called by the thread whenever a result waits to be collected.
            capacity: number of observations that may wait; 1 where the newest one wins.
        """
        self.newest_wins = capacity == 1
        """Whether an observation gives way to the next one."""
        self.skipped = 0
        """Number of observations that gave way to newer ones before they were scored."""
        self.on_drop: Callable[[int], None] = lambda number: None
        """Called by `submit` with the number of such an observation."""
        self.scored = 0
        """Number of decisions with a verdict."""
        self._decide = decide
        self._start_monitor = start_monitor
        self._wake = wake
        self._rollout, self._task = 0, ""
        self._resumption = 0
        self._lock = threading.Lock()
        self._results: deque[tuple[int, ScoringResult[Observation]]] = deque()
        self._seconds: deque[float] = deque(maxlen=TIMED_DECISIONS)
        # Used only by the thread.
        self._monitor: FailureMonitor | None = None
        self._monitored_rollout = -1
        self._monitored_resumption = 0
        self._worker = QueueWorker("scoring", self._work, capacity=capacity, on_drop=self._skip)
        self._worker.start()

    def submit(self, number: int, observation: Observation, received: float) -> None:
        """Score an observation after those that wait.

        Args:
            number: the decision's number in the rollout.
            observation: the argument of `decide`.
            received: when it was complete, in seconds of the monotonic clock.
        """
        self._worker.submit(
            _Job(observation, number, received, self._rollout, self._task, self._resumption)
        )

    def start_rollout(self, task: str) -> None:
        """Start a rollout of a task with the next decision; earlier results are dropped."""
        self._worker.clear()
        with self._lock:
            self._rollout += 1
            self._task = task

    def resume(self) -> None:
        """Continue after the policy was stopped: what it decided before that counts no more."""
        self._resumption += 1

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

    def _skip(self, job: _Job[Observation]) -> None:
        self.skipped += 1
        self.on_drop(job.number)

    # What follows runs on the thread.

    def _work(self, job: _Job[Observation]) -> None:
        start = time.monotonic()
        if job.rollout != self._monitored_rollout:
            self._monitored_rollout, self._monitor = job.rollout, None
        result = self._score(job)
        with self._lock:
            self._seconds.append(time.monotonic() - start)
            self.scored += result.verdict is not None
            self._results.append((job.rollout, result))
        self._wake()

    def _score(self, job: _Job[Observation]) -> ScoringResult[Observation]:
        decision = None
        try:
            monitor = self._monitor_at(job)
            decision = self._decide(job.observation)
            verdict = monitor.update(decision)
            return ScoringResult(job.number, job.observation, job.received, decision, verdict)
        except FailureMonitorError as error:
            fault, unexpected = str(error), None
        except Exception as error:
            # Whatever a model or score raises is a fault, which permits no commands.
            fault, unexpected = f"the scoring failed: {type(error).__name__}: {error}", error
        return ScoringResult(
            job.number, job.observation, job.received, decision, None, fault, unexpected
        )

    def _monitor_at(self, job: _Job[Observation]) -> FailureMonitor:
        """Return the rollout's monitor, which knows that decisions before this were not scored."""
        if self._monitor is None:
            self._monitor = self._start_monitor(job.task)
        if job.resumption != self._monitored_resumption:
            self._monitored_resumption = job.resumption
            self._monitor.resume()
        missing = job.number - self._monitor.number
        if missing:
            self._monitor.skip(missing)
        return self._monitor
