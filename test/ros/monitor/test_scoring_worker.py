# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One thread scores all decisions in order; whatever a score raises is a fault."""

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
        self.number = 0

    def of(self, task):
        self.seen.append(f"start {task}")
        self.number = 0
        return self

    def skip(self, decisions):
        self.seen.append(f"skip {decisions}")
        self.number += decisions

    def update(self, decision):
        self.begun.release()
        assert self.let.acquire(timeout=5)
        if self.raises is not None:
            raise self.raises
        self.seen.append(decision.stamp)
        self.number += 1
        return f"verdict {decision.stamp:g}"


@pytest.fixture
def monitor():
    return SlowMonitor()


@pytest.fixture
def woken():
    return threading.Semaphore(0)


@pytest.fixture
def worker(monitor, woken):
    worker = ScoringWorker(lambda observed: observed, monitor.of, woken.release, capacity=4)
    yield worker
    monitor.let.release(100)
    worker.stop()


def decision(stamp: int) -> Decision:
    return Decision(stamp, None, None)


def submit(worker, number, **values):
    """Submit a decision whose stamp is its number."""
    worker.submit(number, decision(number), received=10.0 + number, **values)


@pytest.mark.law(6)
def test_decisions_that_wait_are_scored_in_order(worker, monitor, woken):
    submit(worker, 0)
    assert monitor.begun.acquire(timeout=5)
    for number in (1, 2, 3, 4):
        submit(worker, number)
    monitor.let.release(5)
    for _ in range(5):
        assert woken.acquire(timeout=5)
    assert [(j.number, j.verdict, j.received) for j in worker.collect()] == [
        (number, f"verdict {number}", 10.0 + number) for number in range(5)
    ]
    assert (worker.skipped, worker.scored) == (0, 5)
    assert monitor.seen == ["start ", 0, 1, 2, 3, 4]


@pytest.mark.law(6)
def test_decisions_that_are_too_many_are_reported_and_leave_a_gap(worker, monitor, woken):
    dropped = []
    worker.on_drop = dropped.append
    submit(worker, 0)
    assert monitor.begun.acquire(timeout=5)
    for number in range(1, 7):
        submit(worker, number)
    assert dropped == [1, 2]
    monitor.let.release(5)
    for _ in range(5):
        assert woken.acquire(timeout=5)
    assert worker.skipped == 2
    assert monitor.seen == ["start ", 0, "skip 2", 3, 4, 5, 6]


def test_where_the_newest_wins_it_replaces_the_one_that_waits(monitor, woken):
    worker = ScoringWorker(lambda observed: observed, monitor.of, woken.release, capacity=1)
    submit(worker, 1)
    assert monitor.begun.acquire(timeout=5)
    for number in (2, 3, 4):
        submit(worker, number)
    monitor.let.release(2)
    for _ in range(2):
        assert woken.acquire(timeout=5)
    worker.stop()
    assert worker.newest_wins
    assert monitor.seen == ["start ", "skip 1", 1, "skip 2", 4]


def test_submitting_never_waits_for_the_scoring(worker, monitor):
    submit(worker, 0)
    assert monitor.begun.acquire(timeout=5)
    begin = time.monotonic()
    submit(worker, 1)
    assert worker.collect() == []
    assert time.monotonic() - begin < 1.0


def test_a_new_rollout_drops_what_is_at_work_and_starts_the_monitor_anew(worker, monitor, woken):
    submit(worker, 0)
    assert monitor.begun.acquire(timeout=5)
    worker.start_rollout("pick")
    monitor.let.release(2)
    assert woken.acquire(timeout=5)
    assert worker.collect() == []
    submit(worker, 0)
    assert woken.acquire(timeout=5)
    assert [result.verdict for result in worker.collect()] == ["verdict 0"]
    assert monitor.seen == ["start ", 0, "start pick", 0]


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
    submit(worker, 0)
    monitor.let.release(2)
    assert woken.acquire(timeout=5)
    (result,) = worker.collect()
    assert (result.verdict, result.fault) == (None, fault)
    monitor.raises = None
    submit(worker, 1)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].verdict == "verdict 1"
    assert monitor.seen == ["start ", "skip 1", 1]


def test_what_making_a_decision_raises_is_a_fault_too(monitor, woken):
    def decide(observed):
        if observed == "x.jpeg":
            raise InvalidDecisionError(f"{observed} is no image")
        return observed

    worker = ScoringWorker(decide, monitor.of, woken.release, capacity=4)
    worker.submit(0, "x.jpeg", received=3.0)
    assert woken.acquire(timeout=5)
    (result,) = worker.collect()
    assert (result.fault, result.decision) == ("x.jpeg is no image", None)
    assert result.received == 3.0
    monitor.let.release()
    submit(worker, 1)
    assert woken.acquire(timeout=5)
    worker.stop()
    assert monitor.seen == ["start ", "skip 1", 1]


def test_what_the_start_of_a_rollout_raises_is_a_fault_and_the_next_decision_starts_it(
    monitor, woken
):
    failing = [RuntimeError("no noise")]

    def start(task):
        if failing:
            raise failing.pop()
        return monitor.of(task)

    worker = ScoringWorker(lambda observed: observed, start, woken.release, capacity=4)
    monitor.let.release(2)
    submit(worker, 0)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].fault == "the scoring failed: RuntimeError: no noise"
    submit(worker, 1)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].verdict == "verdict 1"
    worker.stop()


def test_what_skipping_decisions_raises_is_a_fault_too(worker, monitor, woken):
    def skip(decisions):
        raise RuntimeError("cannot skip")

    sound, monitor.skip = monitor.skip, skip
    monitor.let.release(3)
    submit(worker, 1)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].fault == "the scoring failed: RuntimeError: cannot skip"
    monitor.skip = sound
    submit(worker, 2)
    assert woken.acquire(timeout=5)
    assert worker.collect()[0].verdict == "verdict 2"
    assert monitor.seen == ["start ", "skip 2", 2]
