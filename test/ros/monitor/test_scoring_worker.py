# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One thread scores; the newest decision wins; whatever a score raises is a fault."""

import threading
import time

import pytest

from failure_monitor.decision import Decision, InvalidDecisionError
from failure_monitor.ros.monitor.scoring_worker import ScoringWorker


class SlowMonitor:
    """Judges a decision only when it is let; remembers what it saw."""

    def __init__(self):
        self.seen: list[object] = []
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.raises: Exception | None = None

    def of(self, task):
        self.seen.append(f"start {task}")
        return self

    def skip(self, decisions):
        self.seen.append(f"skip {decisions}")

    def update(self, decision):
        self.begun.release()
        assert self.let.acquire(timeout=5)
        if self.raises is not None:
            raise self.raises
        self.seen.append(decision.stamp)
        return f"verdict {decision.stamp:g}"


@pytest.fixture
def monitor():
    return SlowMonitor()


@pytest.fixture
def woken():
    return threading.Semaphore(0)


@pytest.fixture
def worker(monitor, woken):
    worker = ScoringWorker(lambda observed: observed, monitor.of, wake=woken.release)
    yield worker
    monitor.let.release(100)
    worker.stop()


def decision(stamp: float) -> Decision:
    return Decision(stamp, None, None)


def test_decisions_that_wait_are_replaced_by_newer_ones_and_counted(worker, monitor, woken):
    worker.submit(decision(1), received=10.0)
    assert monitor.begun.acquire(timeout=5)
    for stamp in (2, 3, 4):
        worker.submit(decision(stamp), received=10.0 + stamp)
    monitor.let.release(2)
    assert woken.acquire(timeout=5)
    assert woken.acquire(timeout=5)
    assert [(j.verdict, j.received) for j in worker.collect()] == [
        ("verdict 1", 10.0),
        ("verdict 4", 14.0),
    ]
    assert (worker.skipped, worker.scored) == (2, 2)
    assert monitor.seen == ["start ", 1, "skip 2", 4]


def test_decisions_that_were_missed_before_count_with_those_that_were_replaced(
    worker, monitor, woken
):
    worker.submit(decision(1), received=0.0, missed=1)
    assert monitor.begun.acquire(timeout=5)
    worker.submit(decision(4), received=0.0, missed=2)
    worker.submit(decision(6), received=0.0, missed=1)
    monitor.let.release(2)
    assert woken.acquire(timeout=5)
    assert woken.acquire(timeout=5)
    assert monitor.seen == ["start ", "skip 1", 1, "skip 4", 6]


def test_submitting_never_waits_for_the_scoring(worker, monitor):
    worker.submit(decision(1), received=0.0)
    assert monitor.begun.acquire(timeout=5)
    begin = time.monotonic()
    worker.submit(decision(2), received=0.0)
    assert worker.collect() == []
    assert time.monotonic() - begin < 1.0


def test_a_new_rollout_drops_what_is_at_work_and_starts_the_monitor_anew(worker, monitor, woken):
    worker.submit(decision(1), received=0.0)
    assert monitor.begun.acquire(timeout=5)
    worker.start_rollout("pick")
    monitor.let.release(2)
    assert woken.acquire(timeout=5)
    assert worker.collect() == []
    worker.submit(decision(2), received=0.0)
    assert woken.acquire(timeout=5)
    assert [result.verdict for result in worker.collect()] == ["verdict 2"]
    assert monitor.seen == ["start ", 1, "start pick", 2]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (InvalidDecisionError("3 values are NaN"), "3 values are NaN"),
        (ZeroDivisionError("by zero"), "the scoring failed: ZeroDivisionError: by zero"),
    ],
)
def test_what_the_scoring_raises_is_a_fault_and_the_thread_goes_on(
    worker, monitor, woken, error, fault
):
    monitor.raises = error
    worker.submit(decision(1), received=0.0)
    monitor.let.release(2)
    assert woken.acquire(timeout=5)
    (result,) = worker.collect()
    assert (result.verdict, result.fault) == (None, fault)
    monitor.raises = None
    worker.submit(decision(2), received=0.0)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].verdict == "verdict 2"
    assert monitor.seen == ["start ", "skip 1", 2]


def test_what_making_a_decision_raises_is_a_fault_too(monitor, woken):
    def decide(observed):
        if observed == "x.jpeg":
            raise InvalidDecisionError(f"{observed} is no image")
        return observed

    worker = ScoringWorker(decide, monitor.of, wake=woken.release)
    worker.submit("x.jpeg", received=3.0)
    assert woken.acquire(timeout=5)
    (result,) = worker.collect()
    assert (result.fault, result.decision) == ("x.jpeg is no image", None)
    assert result.received == 3.0
    monitor.let.release()
    worker.submit(decision(2), received=4.0)
    assert woken.acquire(timeout=5)
    worker.stop()
    assert monitor.seen == ["start ", "skip 1", 2]


def test_what_the_start_of_a_rollout_raises_is_a_fault_and_the_next_decision_starts_it(
    monitor, woken
):
    failing = [RuntimeError("no noise")]

    def start(task):
        if failing:
            raise failing.pop()
        return monitor.of(task)

    worker = ScoringWorker(lambda observed: observed, start, wake=woken.release)
    monitor.let.release(2)
    worker.submit(decision(1), received=0.0)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].fault == "the scoring failed: RuntimeError: no noise"
    worker.submit(decision(2), received=0.0)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].verdict == "verdict 2"
    worker.stop()


def test_what_skipping_decisions_raises_is_a_fault_too(worker, monitor, woken):
    def skip(decisions):
        raise RuntimeError("cannot skip")

    sound, monitor.skip = monitor.skip, skip
    monitor.let.release(3)
    worker.submit(decision(1), received=0.0, missed=1)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].fault == "the scoring failed: RuntimeError: cannot skip"
    monitor.skip = sound
    worker.submit(decision(2), received=0.0)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].verdict == "verdict 2"
    assert monitor.seen == ["start ", "skip 2", 2]
