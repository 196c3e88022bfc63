# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads many sources, with several processes if that is faster.

Processes take seconds to start, and the duration of reading cannot be known from the size: of a
bag full of images almost nothing may be needed. Reading therefore starts in this process and
continues in others once they are worth it.
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

MIN_SECONDS_FOR_PROCESSES = 5.0
"""Estimated seconds of further reading above which processes are started."""

REPORT_PERIOD = 0.1
"""Seconds between two reports about the same source."""


@dataclass(frozen=True)
class Found:
    """A source that was found and is to be read.

    Attributes:
        path: The file or folder.
        kind: The kind of source, which reads it.
        size: The size in bytes.
    """

    path: Path
    kind: SourceKind
    size: int


@dataclass(frozen=True)
class ReadSoFar:
    """The progress of reading.

    Attributes:
        sources: The number of sources that are read.
        of_sources: The number of all sources.
        size: The number of bytes that are read.
        of_size: The size of all sources in bytes.
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
    """Return the contents of each source, in the same order.

    Args:
        sources: The sources to read.
        options: How bags are read.
        jobs: The number of processes that read at a time.
        report: Called now and then with the progress.

    Raises:
        FailureMonitorError: A source is damaged or of another format.
    """
    progress = _Progress(sources, report)
    results: list[ReadResult] = []
    begin = time.monotonic()
    for place, source in enumerate(sources):
        left = progress.seconds_left(time.monotonic() - begin)
        if min(jobs, len(sources) - place) > 1 and left > MIN_SECONDS_FOR_PROCESSES:
            results += _read_by_processes(sources, place, options, jobs, progress)
            break
        results.append(_read(source, options, _at_intervals(progress.at, place)))
        progress.at(place, 1.0)
    errors = [result for result in results if isinstance(result, FailureMonitorError)]
    if errors:
        raise _combined_error(errors, results, sources)
    return [result for result in results if isinstance(result, SourceContents)]


def _combined_error(
    errors: Sequence[FailureMonitorError], results: Sequence[ReadResult], sources: Sequence[Found]
) -> FailureMonitorError:
    """Return the first error, with the names of all other rejected sources."""
    if len(errors) == 1:
        return errors[0]
    rejected = [
        source.path.name
        for source, result in zip(sources, results, strict=True)
        if isinstance(result, FailureMonitorError)
    ]
    return SourceError(
        f"{errors[0]} (of {len(sources)} sources, {len(errors) - 1} more are rejected: "
        f"{list_names(rejected[1:])})"
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
        """Return the estimated seconds of further reading; 0 if unknown."""
        return elapsed * (sum(self._sizes) / self._read - 1) if self._read else 0.0

    @property
    def _read(self) -> float:
        return sum(size * share for size, share in zip(self._sizes, self._shares, strict=True))


def _at_intervals(advance: Callable[[int, float], None], place: int) -> Advance:
    last = time.monotonic()

    def advance_at_intervals(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        # A complete source is reported by the caller, once no error can occur any more.
        if now - last >= REPORT_PERIOD and share < 1.0:
            last = now
            advance(place, share)

    return advance_at_intervals


def _read_by_processes(
    sources: Sequence[Found], begin: int, options: BagOptions, jobs: int, progress: _Progress
) -> list[ReadResult]:
    """Return the results of the sources from number `begin` on."""
    advances = CONTEXT.Queue()
    jobs = min(jobs, len(sources) - begin)
    with closing(advances), worker_processes(jobs, _begin_worker, advances) as workers:
        # The largest first, so that at the end no process reads one alone.
        order = sorted(range(begin, len(sources)), key=lambda place: -sources[place].size)
        places = {
            workers.submit(_read_in_worker, sources[place], options, place): place
            for place in order
        }
        results: dict[int, tuple[ReadResult, list[LogRecord]]] = {}
        pending: set[Future[Any]] = set(places)
        while pending:
            done, pending = wait(pending, REPORT_PERIOD, FIRST_COMPLETED)
            _report_advances(advances, progress)
            for future in done:
                place = places[future]
                results[place] = _result(future, sources[place])
                progress.at(place, 1.0)
    for place in sorted(results):
        for record in results[place][1]:
            logging.getLogger(record.name).handle(record)
    return [results[place][0] for place in sorted(results)]


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


def _report_advances(advances: Any, progress: _Progress) -> None:
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
    """Return the result of reading a source, and what was logged meanwhile."""

    def advance(place: int, share: float) -> None:
        _advances.put((place, share))

    keeper = _RecordKeeper()
    logging.basicConfig(level=logging.INFO, handlers=[keeper], force=True)
    return _read(source, options, _at_intervals(advance, place)), keeper.records


class _RecordKeeper(logging.Handler):
    """Keeps log records in a form that can be sent to another process."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[LogRecord] = []

    def emit(self, record: LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        self.records.append(record)
