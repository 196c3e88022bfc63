# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Several sources read at a time, each by a process of its own.

Processes take seconds to start, and how long reading takes is not to be seen from outside: of a
bag full of images next to nothing may be needed. So reading begins without, and goes on with them
once it is clear that they pay.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from logging import LogRecord
from pathlib import Path
from queue import Empty
from typing import Any, TypeAlias

from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.sources.source import (
    Advance,
    BagOptions,
    SourceContents,
    SourceError,
    SourceKind,
)
from failure_monitor.worker_processes import CONTEXT, worker_processes

WORTH_PROCESSES = 5.0
"""Seconds that reading will go on, by what it took so far, for which processes are started."""

REPORT_PERIOD = 0.1
"""Seconds between two reports of the same source."""


@dataclass(frozen=True)
class Found:
    """A source to be read.

    Attributes:
        path: where it is.
        kind: what reads it.
        size: bytes on disk.
    """

    path: Path
    kind: SourceKind
    size: int


@dataclass(frozen=True)
class ReadSoFar:
    """How far reading has come.

    Attributes:
        sources: how many sources are read, of `of_sources`.
        size: how many bytes are read, of `of_size`.
    """

    sources: int
    of_sources: int
    size: float
    of_size: int


Report = Callable[[ReadSoFar], None]
ReadResult: TypeAlias = "SourceContents | FailureMonitorError"


def read_all(
    sources: Sequence[Found], options: BagOptions, *, jobs: int, report: Report
) -> list[SourceContents]:
    """What each source holds, in their order.

    Args:
        sources: what to read.
        options: how bags are read.
        jobs: how many processes read at a time.
        report: told, now and then, how far it is.

    Raises:
        FailureMonitorError: a source is damaged, or laid out otherwise.
    """
    progress = _Progress(sources, report)
    outcomes: list[ReadResult] = []
    begin = time.monotonic()
    for place, source in enumerate(sources):
        left = progress.seconds_left(time.monotonic() - begin)
        if min(jobs, len(sources) - place) > 1 and left > WORTH_PROCESSES:
            outcomes += _read_by_processes(sources, place, options, jobs, progress)
            break
        outcomes.append(_read(source, options, _at_intervals(progress.at, place)))
        progress.at(place, 1.0)
    faults = [outcome for outcome in outcomes if isinstance(outcome, FailureMonitorError)]
    if faults:
        raise _summed_up(faults, outcomes, sources)
    return [outcome for outcome in outcomes if isinstance(outcome, SourceContents)]


def _summed_up(
    faults: Sequence[FailureMonitorError], outcomes: Sequence[ReadResult], sources: Sequence[Found]
) -> FailureMonitorError:
    """The first fault, and where others are: who mends one wants to know of all."""
    if len(faults) == 1:
        return faults[0]
    faulty = [
        source.path.name
        for source, outcome in zip(sources, outcomes, strict=True)
        if isinstance(outcome, FailureMonitorError)
    ]
    return SourceError(
        f"{faults[0]} (of {len(sources)} sources, {len(faults) - 1} more are rejected: "
        f"{list_names(faulty[1:])})"
    )


def _read(source: Found, options: BagOptions, advance: Advance) -> ReadResult:
    try:
        return source.kind.read(source.path, options, advance)
    except UsageError:
        raise
    except FailureMonitorError as error:
        return error


class _Progress:
    """Adds up how far each source is read."""

    def __init__(self, sources: Sequence[Found], report: Report) -> None:
        self._sizes = [source.size for source in sources]
        self._shares = [0.0] * len(sources)
        self._report = report

    def at(self, place: int, share: float) -> None:
        self._shares[place] = max(share, self._shares[place])
        whole = sum(share >= 1.0 for share in self._shares)
        self._report(ReadSoFar(whole, len(self._sizes), self._read, sum(self._sizes)))

    def seconds_left(self, elapsed: float) -> float:
        """How long it will still take, at the pace of the seconds so far; 0 where nobody knows."""
        return elapsed * (sum(self._sizes) / self._read - 1) if self._read else 0.0

    @property
    def _read(self) -> float:
        return sum(size * share for size, share in zip(self._sizes, self._shares, strict=True))


def _at_intervals(advance: Callable[[int, float], None], place: int) -> Advance:
    last = time.monotonic()

    def advance_now_and_then(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        # That a source is whole is for those to say who know that nothing goes wrong any more.
        if now - last >= REPORT_PERIOD and share < 1.0:
            last = now
            advance(place, share)

    return advance_now_and_then


def _read_by_processes(
    sources: Sequence[Found], begin: int, options: BagOptions, jobs: int, progress: _Progress
) -> list[ReadResult]:
    """What the sources hold from number `begin` on."""
    advances = CONTEXT.Queue()
    jobs = min(jobs, len(sources) - begin)
    with closing(advances), worker_processes(jobs, _begin_worker, advances) as workers:
        # The largest first, so that none is left over for one process at the end.
        order = sorted(range(begin, len(sources)), key=lambda place: -sources[place].size)
        places = {
            workers.submit(_read_in_worker, sources[place], options, place): place
            for place in order
        }
        outcomes: dict[int, tuple[ReadResult, list[LogRecord]]] = {}
        pending: set[Future[Any]] = set(places)
        while pending:
            done, pending = wait(pending, REPORT_PERIOD, FIRST_COMPLETED)
            _pass_on(advances, progress)
            for future in done:
                place = places[future]
                outcomes[place] = _result(future, sources[place])
                progress.at(place, 1.0)
    for place in sorted(outcomes):
        for record in outcomes[place][1]:
            logging.getLogger(record.name).handle(record)
    return [outcomes[place][0] for place in sorted(outcomes)]


def _result(
    future: Future[tuple[ReadResult, list[LogRecord]]], source: Found
) -> tuple[ReadResult, list[LogRecord]]:
    try:
        return future.result()
    except BrokenProcessPool:
        raise SourceError(
            f"a process ended while it read {source.path} or a source beside it, perhaps for want "
            "of memory: try '--jobs 1'"
        ) from None


def _pass_on(advances: Any, progress: _Progress) -> None:
    while True:
        try:
            place, share = advances.get_nowait()
        except Empty:
            return
        progress.at(place, share)


_advances: Any = None


def _begin_worker(advances: Any) -> None:
    global _advances
    _advances = advances


def _read_in_worker(
    source: Found, options: BagOptions, place: int
) -> tuple[ReadResult, list[LogRecord]]:
    """What the source holds or why not, and what was said while it was read."""

    def advance(place: int, share: float) -> None:
        _advances.put((place, share))

    keeper = _Keeper()
    logging.basicConfig(level=logging.INFO, handlers=[keeper], force=True)
    return _read(source, options, _at_intervals(advance, place)), keeper.records


class _Keeper(logging.Handler):
    """Keeps what is said, in a form that can be sent to another process."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[LogRecord] = []

    def emit(self, record: LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        self.records.append(record)
