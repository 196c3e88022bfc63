# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs are done in order, too many give way, and nothing that a job raises ends the thread."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.ros.common.queue_worker import QueueWorker


class Jobs:
    """Work that a test lets go on, one job at a time."""

    def __init__(self):
        self.done: list[int] = []
        self.started = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)

    def work(self, job):
        self.started.release()
        assert self.may_go_on.acquire(timeout=5)
        self.done.append(job)

    def wait_until_started(self):
        assert self.started.acquire(timeout=5)


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def worker(jobs):
    worker = QueueWorker("tested", jobs.work)
    yield worker
    jobs.may_go_on.release(100)
    worker.stop()
    assert "tested" not in {thread.name for thread in threading.enumerate()}


def test_newer_job_replaces_the_one_that_waits(worker, jobs):
    worker.submit(1)
    jobs.wait_until_started()
    for job in (2, 3, 4):
        worker.submit(job)
    jobs.may_go_on.release()
    jobs.wait_until_started()
    jobs.may_go_on.release()
    worker.submit(5)
    jobs.wait_until_started()
    assert jobs.done == [1, 4]


def test_jobs_are_done_in_order_and_the_oldest_gives_way(jobs):
    dropped = []
    worker = QueueWorker("tested", jobs.work, capacity=3, on_drop=dropped.append)
    worker.submit(1)
    jobs.wait_until_started()
    for job in (2, 3, 4, 5, 6):
        worker.submit(job)
    jobs.may_go_on.release(4)
    for _ in range(3):
        jobs.wait_until_started()
    worker.stop()
    assert dropped == [2, 3]
    assert jobs.done == [1, 4, 5, 6]


@pytest.mark.law(6)
@given(capacity=st.integers(1, 5), jobs=st.integers(0, 20))
def test_every_job_is_done_or_dropped_in_order(capacity, jobs):
    dropped, done, may_start = [], [], threading.Event()
    worker = QueueWorker(
        "tested",
        lambda job: (may_start.wait(5), done.append(job)),
        capacity=capacity,
        on_drop=dropped.append,
    )
    for job in range(jobs):
        worker.submit(job)
    may_start.set()
    finished = threading.Event()
    while len(done) + len(dropped) < jobs:
        finished.wait(0.001)
    worker.stop()
    assert sorted(done + dropped) == list(range(jobs))
    assert (done, dropped) == (sorted(done), sorted(dropped))
    # One may be at work beside those that wait.
    assert len(done) in (min(jobs, capacity), min(jobs, capacity + 1))


def test_waiting_job_can_be_dropped(worker, jobs):
    worker.submit(1)
    jobs.wait_until_started()
    worker.submit(2)
    worker.clear()
    jobs.may_go_on.release(2)
    worker.submit(3)
    jobs.wait_until_started()
    worker.stop()
    assert jobs.done == [1, 3]


def test_what_a_job_raises_is_handed_on_and_the_next_one_is_done():
    raised, done = [], threading.Event()

    def work(job):
        if job == "bad":
            raise ZeroDivisionError(job)
        done.set()

    handed_on = threading.Event()
    worker = QueueWorker(
        "tested", work, on_error=lambda error: (raised.append(error), handed_on.set())
    )
    worker.submit("bad")
    assert handed_on.wait(5)
    worker.submit("good")
    assert done.wait(5)
    worker.stop()
    assert [type(error) for error in raised] == [ZeroDivisionError]


def test_error_that_nobody_wants_is_printed(capsys):
    done = threading.Event()
    worker = QueueWorker("tested", lambda job: job(), capacity=2)

    def fail():
        raise ZeroDivisionError("by zero")

    worker.submit(fail)
    worker.submit(done.set)
    assert done.wait(5)
    worker.stop()
    # Read once, after the thread ended: what is printed while capsys reads would be lost.
    assert "ZeroDivisionError: by zero" in capsys.readouterr().err


def test_there_is_no_thread_before_the_first_job_nor_after_the_stop():
    worker = QueueWorker("tested", print)
    assert "tested" not in {thread.name for thread in threading.enumerate()}
    worker.stop()
    worker.submit(1)
    assert worker.is_stopping
    assert "tested" not in {thread.name for thread in threading.enumerate()}


def test_job_that_waits_is_not_done_after_the_stop(worker, jobs):
    worker.submit(1)
    jobs.wait_until_started()
    worker.submit(2)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    while not worker.is_stopping:
        pass
    jobs.may_go_on.release(2)
    stopping.join()
    assert jobs.done == [1]
