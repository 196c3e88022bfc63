# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Several sources read at a time, each by a process of its own.

Processes take a second to start, so that a few small sources are read faster without.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from logging import LogRecord
from pathlib import Path
from queue import Empty
from typing import Any

from failure_monitor.sources.source import BagOptions, SourceContents, SourceError, SourceKind

logger = logging.getLogger(__name__)

WORTH_A_PROCESS = 64 << 20
"""Bytes in all, from which on processes are started."""

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
    jobs = min(jobs, len(sources))
    if jobs < 2 or sum(source.size for source in sources) < WORTH_A_PROCESS:
        contents = []
        for place, source in enumerate(sources):
            contents.append(
                source.kind.read(source.path, options, _at_intervals(progress.at, place))
            )
            progress.at(place, 1.0)
        return contents
    return _read_by_processes(sources, options, jobs, progress)


class _Progress:
    """Adds up how far each source is read."""

    def __init__(self, sources: Sequence[Found], report: Report) -> None:
        self._sizes = [source.size for source in sources]
        self._shares = [0.0] * len(sources)
        self._report = report

    def at(self, place: int, share: float) -> None:
        self._shares[place] = max(share, self._shares[place])
        read = sum(size * share for size, share in zip(self._sizes, self._shares, strict=True))
        whole = sum(share >= 1.0 for share in self._shares)
        self._report(ReadSoFar(whole, len(self._sizes), read, sum(self._sizes)))


def _at_intervals(advance: Callable[[int, float], None], place: int) -> Callable[[float], None]:
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
    sources: Sequence[Found], options: BagOptions, jobs: int, progress: _Progress
) -> list[SourceContents]:
    with _workers(jobs) as (workers, advances):
        # The largest first, so that none is left over for one process at the end.
        order = sorted(range(len(sources)), key=lambda place: -sources[place].size)
        places = {
            workers.submit(_read_in_worker, sources[place], options, place): place
            for place in order
        }
        contents: dict[int, SourceContents] = {}
        pending: set[Future[Any]] = set(places)
        while pending:
            done, pending = wait(pending, REPORT_PERIOD, FIRST_COMPLETED)
            _pass_on(advances, progress)
            for future in done:
                place = places[future]
                contents[place] = _result(future, sources[place])
                progress.at(place, 1.0)
        return [contents[place] for place in range(len(sources))]


def _result(
    future: Future[tuple[SourceContents, list[LogRecord]]], source: Found
) -> SourceContents:
    try:
        contents, said = future.result()
    except BrokenProcessPool:
        raise SourceError(
            f"a process ended while it read {source.path} or a source beside it, perhaps for want "
            "of memory: try '--jobs 1'"
        ) from None
    for record in said:
        logging.getLogger(record.name).handle(record)
    return contents


def _pass_on(advances: Any, progress: _Progress) -> None:
    while True:
        try:
            place, share = advances.get_nowait()
        except Empty:
            return
        progress.at(place, share)


@contextmanager
def _workers(jobs: int) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    # Spawned, not forked: torch and ONNX Runtime do not survive a fork with their threads.
    context = multiprocessing.get_context("spawn")
    advances = context.Queue()
    others = set(multiprocessing.active_children())
    workers = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin_worker, initargs=(advances,)
    )
    try:
        yield workers, advances
    except BaseException:
        # Nobody waits for what the others still read.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        workers.shutdown(cancel_futures=True)
        raise
    else:
        workers.shutdown()
    finally:
        advances.close()


_advances: Any = None


def _begin_worker(advances: Any) -> None:
    global _advances
    _advances = advances
    # Who was interrupted is the command, which then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read_in_worker(
    source: Found, options: BagOptions, place: int
) -> tuple[SourceContents, list[LogRecord]]:
    """What the source holds, and what was said while it was read."""

    def advance(place: int, share: float) -> None:
        _advances.put((place, share))

    keeper = _Keeper()
    logging.basicConfig(level=logging.INFO, handlers=[keeper], force=True)
    contents = source.kind.read(source.path, options, _at_intervals(advance, place))
    return contents, keeper.records


class _Keeper(logging.Handler):
    """Keeps what is said, in a form that can be sent to another process."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[LogRecord] = []

    def emit(self, record: LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        self.records.append(record)
