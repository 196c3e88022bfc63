# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One thread that makes decisions of observations and judges them.

So slow models and scores never delay the heartbeat. The newest observation wins: one that comes
while another is at work replaces the one that waits, and counts as a decision that was missed.
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

Observation = TypeVar("Observation")

TIMED = 100
"""Over how many decisions it is told how long they took."""


@dataclass(frozen=True, eq=False)
class Judgement(Generic[Observation]):
    """What came of one observation.

    Attributes:
        observation: the very one.
        received: when it was complete, in seconds of the monotonic clock.
        decision: what was made of it; None if that failed.
        verdict: None if the decision could not be judged.
        fault: why not; empty otherwise.
        error: what was raised, where that was no fault of the observation.
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
    """Runs a `FailureMonitor`, and what comes before it, on a thread of its own."""

    def __init__(
        self,
        decide: Callable[[Observation], Decision],
        monitor_of: Callable[[str], FailureMonitor],
        wake: Callable[[], None],
    ) -> None:
        """Start the thread.

        Args:
            decide: makes a decision of an observation; called by the thread alone.
            monitor_of: the monitor for a rollout of a task; likewise.
            wake: called from the thread whenever a judgement waits to be collected.
        """
        self.skipped = 0
        """How many observations were replaced by a newer one before they were judged."""
        self.judged = 0
        """How many decisions have a verdict."""
        self._seconds: deque[float] = deque(maxlen=TIMED)
        self._decide = decide
        self._monitor_of = monitor_of
        self._wake = wake
        self._changed = threading.Condition()
        self._job: _Job[Observation] | None = None
        self._rollout, self._task = 0, ""
        self._judgements: deque[tuple[int, Judgement[Observation]]] = deque()
        self._ends = False
        # Of the thread alone.
        self._monitor: FailureMonitor | None = None
        self._unjudged = 0
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self._thread.start()

    def submit(self, observation: Observation, received: float, missed: int = 0) -> None:
        """Have an observation judged as soon as the one at work is done.

        Args:
            observation: what `decide` takes.
            received: when it was complete, in seconds of the monotonic clock.
            missed: how many decisions before it nobody can judge.
        """
        with self._changed:
            if self._job is not None:
                self.skipped += 1
                missed += self._job.missed + 1
            self._job = _Job(observation, received, missed, self._rollout, self._task)
            self._changed.notify()

    def start_rollout(self, task: str) -> None:
        """The next decision is the first of a rollout of a task; earlier judgements are dropped."""
        with self._changed:
            self._job = None
            self._rollout += 1
            self._task = task

    def collect(self) -> list[Judgement[Observation]]:
        """The judgements of this rollout since the last call, oldest first."""
        with self._changed:
            judgements = [
                judged for rollout, judged in self._judgements if rollout == self._rollout
            ]
            self._judgements.clear()
        return judgements

    def seconds(self) -> list[float]:
        """How long the last decisions took, models and scores together."""
        with self._changed:
            return list(self._seconds)

    def stop(self) -> None:
        """End the thread after the decision at work."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        rollout = -1
        while (job := self._next_job()) is not None:
            begin = time.monotonic()
            if job.rollout != rollout:
                rollout, self._monitor, self._unjudged = job.rollout, None, 0
            self._unjudged += job.missed
            judgement = self._judge(job)
            with self._changed:
                self._seconds.append(time.monotonic() - begin)
                self.judged += judgement.verdict is not None
                self._judgements.append((job.rollout, judgement))
            self._wake()

    def _next_job(self) -> _Job[Observation] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._job is not None or self._ends)
            job, self._job = self._job, None
            return None if self._ends else job

    def _judge(self, job: _Job[Observation]) -> Judgement[Observation]:
        decision = None
        try:
            monitor = self._monitor_up_to_date(job.task)
            decision = self._decide(job.observation)
            verdict = monitor.update(decision)
            return Judgement(job.observation, job.received, decision, verdict)
        except FailureMonitorError as error:
            fault, unexpected = str(error), None
        except Exception as error:
            # Whatever a model or score raises, the robot must not go on as if all were well.
            fault, unexpected = f"the scoring failed: {type(error).__name__}: {error}", error
        self._unjudged += 1
        return Judgement(job.observation, job.received, decision, None, fault, unexpected)

    def _monitor_up_to_date(self, task: str) -> FailureMonitor:
        """The rollout's, once it knows of the decisions that nobody has judged."""
        if self._monitor is None:
            self._monitor = self._monitor_of(task)
        if self._unjudged:
            self._monitor.skip(self._unjudged)
            self._unjudged = 0
        return self._monitor
