# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One thread that scores decisions, so that slow scoring never delays the heartbeat.

The newest decision wins: one that comes while another is scored replaces the one that waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from failure_monitor.decision import Decision, InvalidDecisionError, Verdict
from failure_monitor.monitor import FailureMonitor


@dataclass(frozen=True)
class Judgement:
    """What came of one decision.

    Attributes:
        received: when the decision was complete, in seconds of the monotonic clock.
        verdict: None if it could not be judged.
        fault: why not; empty otherwise.
        error: what the scoring raised, where that was no fault of the decision.
    """

    received: float
    verdict: Verdict | None
    fault: str = ""
    error: Exception | None = None


@dataclass(frozen=True)
class _Job:
    decision: Decision
    received: float
    rollout: int


class ScoringWorker:
    """Runs a `FailureMonitor` on its own thread."""

    def __init__(self, monitor: FailureMonitor, wake: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            monitor: used by this thread alone from now on.
            wake: called from the thread whenever a judgement waits to be collected.
        """
        self.skipped = 0
        """How many decisions were replaced by a newer one before they were scored."""
        self._monitor = monitor
        self._wake = wake
        self._changed = threading.Condition()
        self._job: _Job | None = None
        self._rollout = 0
        self._judgements: deque[tuple[int, Judgement]] = deque()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self._thread.start()

    def submit(self, decision: Decision, received: float) -> None:
        """Have a decision scored as soon as the one at work is done."""
        with self._changed:
            self.skipped += self._job is not None
            self._job = _Job(decision, received, self._rollout)
            self._changed.notify()

    def start_rollout(self) -> None:
        """The next decision is a rollout's first; judgements of earlier ones are dropped."""
        with self._changed:
            self._job = None
            self._rollout += 1

    def collect(self) -> list[Judgement]:
        """The judgements of this rollout since the last call, oldest first."""
        with self._changed:
            judgements = [
                judged for rollout, judged in self._judgements if rollout == self._rollout
            ]
            self._judgements.clear()
        return judgements

    def stop(self) -> None:
        """End the thread after the decision at work."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        scored_rollout = 0
        while (job := self._next_job()) is not None:
            if job.rollout != scored_rollout:
                self._monitor.start_rollout()
                scored_rollout = job.rollout
            judgement = self._judge(job)
            with self._changed:
                self._judgements.append((job.rollout, judgement))
            self._wake()

    def _next_job(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._job is not None or self._ends)
            job, self._job = self._job, None
            return None if self._ends else job

    def _judge(self, job: _Job) -> Judgement:
        try:
            return Judgement(job.received, self._monitor.update(job.decision))
        except InvalidDecisionError as error:
            return Judgement(job.received, None, fault=str(error))
        except Exception as error:
            # Whatever a score raises, the robot must not go on as if all were well.
            fault = f"the scoring failed: {type(error).__name__}: {error}"
            return Judgement(job.received, None, fault=fault, error=error)
