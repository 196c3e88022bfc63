# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Work in several processes of this machine, once that is faster.

Processes take seconds to start, and how long work takes cannot be known beforehand: of a bag full
of images almost nothing may be needed. Work therefore starts in this process and continues in
others once they are worth it. Where it must not harm this process, it is in others from the start.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from tempfile import TemporaryDirectory
from typing import Any

from failure_monitor.executors.executor import (
    Advanced,
    Finished,
    Item,
    Kept,
    Result,
    nothing_advanced,
    nothing_finished,
    work_here,
)
from failure_monitor.executors.memory_limit import limit_memory
from failure_monitor.executors.outcome import Outcome, Outcomes, WorkerEndedError, outcome_of
from failure_monitor.executors.present_work import present_work
from failure_monitor.executors.worker_processes import CONTEXT, worker_processes

MIN_SECONDS_FOR_PROCESSES = 5.0
"""Estimated seconds of further work above which processes are started."""

REPORT_PERIOD = 0.1
"""Seconds between two looks at how far the processes are."""

PIECES_PER_PROCESS = 2
"""Pieces of work that are handed out at a time, for each process."""

MAX_ATTEMPTS = 3
"""Workers that an item may end before it is given up."""

SHARED_FILE = "shared.pickle"


@dataclass(frozen=True)
class ProcessExecutor:
    """Runs work in this process, and in several once that is faster.

    Attributes:
        jobs: How many processes work at a time.
        memory: The bytes that each may take; None for no limit.
        isolates: Whether no work is done in this process, so that none can end it.
    """

    jobs: int
    memory: int | None = None
    isolates: bool = False

    def map(
        self,
        work: Callable[[Any, Item], Result],
        shared: Any,
        items: Sequence[Item],
        *,
        sizes: Sequence[float] = (),
        finished: Finished = nothing_finished,
        advanced: Advanced = nothing_advanced,
        lost: Callable[[Item, str], Result] | None = None,
        kept: Kept | None = None,
    ) -> list[Result]:
        """Return the results, as `Executor.map` does."""
        sizes = sizes or [1.0] * len(items)
        results: list[Result] = []
        whole, done = sum(sizes), 0.0
        begin = time.monotonic()
        for place, item in enumerate(items):
            left = (time.monotonic() - begin) * (whole / done - 1) if done else 0.0
            if self._needs_others(len(items) - place, left):
                outcomes = Outcomes(items, lost, kept, next=place)
                others = _Pieces(self, work, items, sizes, finished, advanced, outcomes)
                others.do(shared, place)
                return results + outcomes.results()
            result = work_here(work, shared, item, place, advanced)
            results.append(result if kept is None else kept(result))
            finished(place)
            done += sizes[place]
        return results

    def _needs_others(self, items: int, seconds: float) -> bool:
        """Return whether other processes do what is left."""
        if self.isolates or self.memory is not None:
            return True
        return min(self.jobs, items) > 1 and seconds > MIN_SECONDS_FOR_PROCESSES


@dataclass(eq=False)
class _Pieces:
    """Work on items that is done by processes, again by others where they end."""

    executor: ProcessExecutor
    work: Callable[[Any, Any], Any]
    items: Sequence[Any]
    sizes: Sequence[float]
    finished: Finished
    advanced: Advanced
    outcomes: Outcomes
    idle_ends: int = 0

    def do(self, shared: Any, begin: int) -> None:
        """Work on the items from a place on, or on those up to one that failed."""
        with _handed_over(shared) as folder:
            left = list(range(begin, len(self.items)))
            if self.outcomes.kept is None:
                # The largest first, so that at the end no process works alone.
                left.sort(key=lambda place: -self.sizes[place])
            while left:
                suspects = self._run(folder, left, self.executor.jobs)
                for place in suspects:
                    self._run_alone(folder, place)
                left = self._open(left)

    def _open(self, places: Sequence[int]) -> list[int]:
        """Return those of the places that are still to be worked on."""
        there, failed = self.outcomes.by_place, self.outcomes.failed
        return [
            place for place in places if place not in there and (failed is None or place < failed)
        ]

    def _run_alone(self, folder: Path, place: int) -> None:
        """Work on an item that was in work when a process ended, so that it is known whose."""
        for _ in range(MAX_ATTEMPTS - 1):
            if not self._run(folder, self._open([place]), 1):
                return
        self._keep(place, Outcome(lost="ended every process that worked on it"))

    def _run(self, folder: Path, places: Sequence[int], jobs: int) -> list[int]:
        """Work on the items; return those that were in work when a process ended."""
        if not places:
            return []
        advances = CONTEXT.Queue()
        arguments = (folder, self.work, self.executor.memory, advances)
        jobs = min(jobs, len(places))
        try:
            with closing(advances), worker_processes(jobs, _begin_worker, *arguments) as workers:
                waiting = iter(places)
                pending: dict[Future[Any], int] = {}
                while True:
                    # A few for each process: to wait for all of them takes ever longer.
                    while len(pending) < PIECES_PER_PROCESS * jobs and not (
                        pending and self.outcomes.waiting >= PIECES_PER_PROCESS * jobs
                    ):
                        place = next(waiting, None)
                        if place is None:
                            break
                        if self._open([place]):
                            pending[workers.submit(_work, place, self.items[place])] = place
                    if not pending:
                        return []
                    done, _ = wait(pending, REPORT_PERIOD, FIRST_COMPLETED)
                    self._tell(advances)
                    for future in done:
                        self._keep(pending.pop(future), future.result())
        except BrokenProcessPool:
            begun = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
            for place in begun:
                (folder / str(place)).unlink()
            if not begun:
                self._reject_idle_ends()
            return self._open(sorted(begun))

    def _reject_idle_ends(self) -> None:
        """Reject processes that end again and again before they begin to work."""
        self.idle_ends += 1
        if self.idle_ends >= MAX_ATTEMPTS:
            raise WorkerEndedError(
                "a process ended by itself before it began to work: a script must call this "
                "below `if __name__ == '__main__':`, since processes import it; else memory "
                "may have run out; with one job ('--jobs 1') no process is started"
            ) from None

    def _keep(self, place: int, outcome: Outcome) -> None:
        self.outcomes.add(place, outcome)
        self.idle_ends = 0
        self.finished(place)

    def _tell(self, advances: Any) -> None:
        while True:
            try:
                self.advanced(*advances.get_nowait())
            except Empty:
                return


@contextmanager
def _handed_over(shared: Any) -> Iterator[Path]:
    """Yield a folder with what all work needs, where processes also note what they work on.

    In a file: if a process died while it starts, this one would wait for ever to hand it over.
    """
    with TemporaryDirectory(prefix="failure_monitor_") as name:
        with (Path(name) / SHARED_FILE).open("wb") as file:
            pickle.dump(shared, file, protocol=pickle.HIGHEST_PROTOCOL)
        yield Path(name)


@dataclass(frozen=True, eq=False)
class _Worker:
    """What a process that works has."""

    folder: Path
    work: Callable[[Any, Any], Any]
    shared: Any
    advances: Any


_worker: _Worker | None = None


def _begin_worker(
    folder: Path, work: Callable[[Any, Any], Any], memory: int | None, advances: Any
) -> None:
    global _worker
    limit_memory(memory)
    with (folder / SHARED_FILE).open("rb") as file:
        _worker = _Worker(folder, work, pickle.load(file), advances)


def _work(place: int, item: Any) -> Outcome:
    """Work on an item, and note meanwhile that it is in work."""
    assert _worker is not None, "a process begins with _begin_worker"
    note = _worker.folder / str(place)
    note.touch()
    advances = _worker.advances
    with present_work(lambda share: advances.put((place, share))):
        outcome = outcome_of(_worker.work, _worker.shared, item)
    note.unlink()
    return outcome
