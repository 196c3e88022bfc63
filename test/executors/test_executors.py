# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Executors give the results of one process, whoever works, ends or is done first."""

from __future__ import annotations

import pickle
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from testbed.bags import write_bag
from testbed.executed_work import (
    RefusedError,
    add,
    end_on,
    refuse_odd,
    take_memory,
    undated,
    wait_at_first,
)

from failure_monitor import ReadingOptions, calibrate, evaluate
from failure_monitor.bundle.folder import save
from failure_monitor.errors import UsageError
from failure_monitor.evaluation.watched_promise import promise_of_sources
from failure_monitor.executors import process_executor
from failure_monitor.executors.choice import chosen_executor
from failure_monitor.executors.executor import SerialExecutor
from failure_monitor.executors.memory_limit import read_size
from failure_monitor.executors.outcome import Outcome, Outcomes, WorkerEndedError, results_of
from failure_monitor.executors.process_executor import ProcessExecutor
from failure_monitor.missing_package import MissingPackageError


@pytest.mark.parametrize("executor", [SerialExecutor(), ProcessExecutor(2, isolates=True)])
def test_results_and_what_was_logged_come_in_the_order_of_the_items(
    executor, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []
    shares: list[tuple[int, float]] = []
    results = executor.map(
        add,
        3,
        list(range(20)),
        sizes=list(range(20)),
        finished=done.append,
        advanced=lambda place, share: shares.append((place, share)),
    )
    assert results == list(range(3, 23))
    assert sorted(done) == list(range(20))
    assert {share for _, share in shares} <= {0.5}
    assert [record.getMessage() for record in caplog.records] == [f"added {n}" for n in range(20)]


def test_the_largest_begin_first_and_nothing_is_begun_without_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[list[int]] = []

    def run(pieces, folder, places, jobs):
        begun.append(list(places))
        pieces.outcomes.by_place.update({place: Outcome(place) for place in places})
        return []

    monkeypatch.setattr(process_executor._Pieces, "_run", run)
    executor = ProcessExecutor(2, isolates=True)
    assert executor.map(add, 0, [5, 6, 7], sizes=[1, 3, 2]) == [0, 1, 2]
    assert begun == [[1, 2, 0]]
    assert executor.map(add, 0, []) == []


@pytest.mark.parametrize("first_to_end", [1, 3])
def test_the_first_refusal_by_place_is_raised_whoever_is_done_first(first_to_end: int) -> None:
    delays = {item: 0.0 if item == first_to_end else 0.5 for item in (1, 3)}
    with pytest.raises(RefusedError, match="1 is odd"):
        ProcessExecutor(2, isolates=True).map(refuse_odd, delays, [0, 1, 2, 3, 4])


def test_outcomes_in_any_order_are_the_same_results() -> None:
    items = list(range(6))
    forwards = {place: Outcome(10 * place) for place in items}
    backwards = dict(reversed(forwards.items()))
    assert results_of(forwards, items, None) == results_of(backwards, items, None)


def test_each_result_is_received_when_those_before_were_and_what_is_kept_stays() -> None:
    received: list[int] = []

    def kept(result: int) -> str:
        if result == 4:
            raise RefusedError("4 is not taken")
        received.append(result)
        return f"kept {result}"

    outcomes = Outcomes(list(range(6)), lambda item, why: -item, kept)
    waiting = []
    for place in (2, 1, 0, 5, 3):
        outcomes.add(place, Outcome(lost="ended") if place == 1 else Outcome(place))
        waiting.append((list(received), outcomes.waiting))
    assert waiting == [([], 1), ([], 2), ([0, -1, 2], 0), ([0, -1, 2], 1), ([0, -1, 2, 3], 1)]
    assert outcomes.failed is None
    outcomes.add(4, Outcome(4))
    assert (received, outcomes.failed) == ([0, -1, 2, 3], 4)
    with pytest.raises(RefusedError, match="4 is not taken"):
        outcomes.results()


@pytest.mark.parametrize("executor", [SerialExecutor(), ProcessExecutor(2, isolates=True)])
def test_work_is_not_far_ahead_of_what_is_received(executor) -> None:
    done: list[int] = []
    ahead: list[int] = []

    def kept(result: int) -> int:
        ahead.append(max(done, default=0) - result)
        return -result

    items = list(range(40))
    # The largest would begin first, and the first takes longest.
    results = executor.map(wait_at_first, 0.5, items, sizes=items, finished=done.append, kept=kept)
    assert results == [-item for item in items]
    assert max(ahead) <= 10


class Shuffled(SerialExecutor):
    """Is done with the items in an order of its own."""

    def map(self, work, shared, items, *, finished=lambda place: None, **settings):
        results = {}
        for place in np.random.default_rng(len(items)).permutation(len(items)).tolist():
            results[place] = pickle.loads(pickle.dumps(work(shared, items[place])))
            finished(place)
        return [results[place] for place in range(len(items))]


def test_whoever_is_done_first_the_bundle_and_the_figures_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(9):
        write_bag(tmp_path / "bags" / f"run_{seed}", 12 + seed, seed=seed, success=True)
    found = []
    for executor in (SerialExecutor(), Shuffled()):
        monkeypatch.setattr(ReadingOptions, "workers", executor)
        made = calibrate(tmp_path / "bags", scores=["ace", "knn"], folds=3)
        folder = tmp_path / type(executor).__name__
        save(made.bundle, folder)
        figures = evaluate(made.bundle, tmp_path / "bags").to_json()
        _, course = promise_of_sources(folder, tmp_path / "bags")
        found.append((undated(folder), figures, course.to_json()))
    assert found[0] == found[1]


@pytest.mark.slow
def test_work_whose_process_ends_is_done_again_and_named_if_no_process_survives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    executor = ProcessExecutor(2, isolates=True)
    items = ["a", "once", "b", "c", "d"]
    assert executor.map(end_on, tmp_path, items) == items
    # Nothing twice, nothing lost, not even of what was logged.
    assert len(caplog.records) == len(items)
    items = ["a", "deadly", "b", "c"]
    left_out = executor.map(end_on, tmp_path, items, lost=lambda item, why: f"{item} {why}")
    assert left_out == ["a", "deadly ended every process that worked on it", "b", "c"]
    with pytest.raises(WorkerEndedError, match="piece 2 of 4 of the work ended every process"):
        executor.map(end_on, tmp_path, items)


def kill_a_worker(killed: list[int]) -> None:
    """Kill a process that reads or fits, as soon as there is one."""
    while not killed:
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if not killed and "spawn_main" in " ".join(child.cmdline()):
                    child.kill()
                    killed.append(child.pid)
        time.sleep(0.02)


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing_of_a_bundle(tmp_path: Path) -> None:
    for seed in range(9):
        write_bag(tmp_path / "bags" / f"run_{seed}", 12 + seed, seed=seed, success=True)
    # The limit of memory lets processes begin at once.
    for name, reading in {
        "alone": ReadingOptions(executor="serial"),
        "disturbed": ReadingOptions(jobs=2, worker_memory=8 << 30),
    }.items():
        killed: list[int] = [] if name == "disturbed" else [0]
        killer = threading.Thread(target=kill_a_worker, args=(killed,))
        killer.start()
        made = calibrate(tmp_path / "bags", scores=["ace", "knn"], folds=3, reading=reading)
        killer.join()
        save(made.bundle, tmp_path / name)
    assert undated(tmp_path / "alone") == undated(tmp_path / "disturbed")


@pytest.mark.slow
def test_a_worker_that_wants_more_memory_than_it_may_have_is_named() -> None:
    executor = ProcessExecutor(1, memory=2**30)
    with pytest.raises(WorkerEndedError, match=r"piece 3 of 3 .* more memory than its worker has"):
        executor.map(take_memory, 2**20, [1, 2, 4096])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "dask"}, "there is no executor 'dask': choose serial, processes, ray"),
        ({"kind": "processes", "jobs": 0}, "0 jobs"),
        ({"kind": "processes", "gpus": 1.0}, "for '--executor ray'"),
        ({"kind": "ray", "gpus": -1.0}, "no number of GPUs"),
        ({"kind": "ray", "gpus": 1.5}, "a whole number, or a share of one"),
        ({"kind": "ray", "memory": 1000}, "cannot run in 1000 bytes"),
        ({"kind": "serial", "memory": 2**30}, "has no workers"),
        ({"kind": "serial", "isolates": True}, "has no workers"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        chosen_executor(**settings)


@pytest.mark.parametrize(
    ("text", "size"), [("2G", 2**31), ("500M", 500 << 20), ("1.5 GiB", 3 << 29)]
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["much", "-1G", "2X", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no size"):
        read_size(text)


def test_an_error_is_the_same_in_another_process() -> None:
    error = MissingPackageError("torch", purpose="training")
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other)) == (type(error), str(error))
