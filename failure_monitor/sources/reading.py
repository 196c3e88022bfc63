# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads many sources, wherever an executor does so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.executors.executor import Executor
from failure_monitor.executors.present_work import advance, on_worker
from failure_monitor.listed_names import list_names
from failure_monitor.sources.addresses import exists, shown
from failure_monitor.sources.source import (
    Advance,
    BagOptions,
    SourceContents,
    SourceError,
    SourceKind,
)

logger = logging.getLogger(__name__)

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
KeptOfSource = Callable[[SourceContents], SourceContents]


def read_all(
    sources: Sequence[Found],
    options: BagOptions,
    *,
    executor: Executor,
    report: Report,
    skips_unreadable: bool = False,
    kept: KeptOfSource | None = None,
) -> list[SourceContents]:
    """Return the contents of each source, in the same order.

    Args:
        sources: The sources to read.
        options: How bags are read.
        executor: What reads them.
        report: Called now and then with the progress.
        skips_unreadable: Whether what cannot be read is left out, with a warning.
        kept: Receives the contents of each source in their order, as soon as those before were
            received, and returns what stays of them; None keeps all.

    Raises:
        FailureMonitorError: A source is damaged or of another format, and is not left out.
    """
    results = read_each(sources, options, executor=executor, report=report, kept=kept)
    errors = [result for result in results if isinstance(result, FailureMonitorError)]
    if errors and not (skips_unreadable and len(errors) < len(results)):
        raise _combined_error(errors, results, sources)
    for error in errors:
        logger.warning("left out: %s", error)
    return [result for result in results if isinstance(result, SourceContents)]


def read_each(
    sources: Sequence[Found],
    options: BagOptions,
    *,
    executor: Executor,
    report: Report,
    kept: KeptOfSource | None = None,
) -> list[ReadResult]:
    """Return the contents of each source, or why it cannot be read, in the same order."""
    progress = SourceProgress(sources, report)

    def kept_result(result: ReadResult) -> ReadResult:
        if kept is None or not isinstance(result, SourceContents):
            return result
        return kept(result)

    return executor.map(
        _read,
        options,
        sources,
        sizes=progress.sizes,
        finished=progress.whole,
        advanced=progress.at,
        lost=unread,
        kept=None if kept is None else kept_result,
    )


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


def _read(options: BagOptions, source: Found) -> ReadResult:
    try:
        if on_worker() and not exists(source.path):
            raise SourceError(
                f"{shown(source.path)} does not exist{on_worker()}: put it where all "
                "workers see it by this path, such as a shared file system"
            )
        return source.kind.read(source.path, options, _at_intervals())
    except UsageError:
        raise
    except FailureMonitorError as error:
        return error


def unread(source: Found, why: str) -> SourceError:
    """Return the error of a source that no worker survives."""
    return SourceError(
        f"{shown(source.path)} {why}, perhaps for want of memory: read fewer at a time "
        "(--jobs), or leave it out (--skip-unreadable)"
    )


class SourceProgress:
    """Adds up how far each source is read."""

    def __init__(self, sources: Sequence[Found], report: Report) -> None:
        self.sizes = [source.size for source in sources]
        self._shares = [0.0] * len(sources)
        self._report = report

    def at(self, place: int, share: float) -> None:
        """Report that a source is read to a share."""
        self._shares[place] = max(share, self._shares[place])
        done = sum(share >= 1.0 for share in self._shares)
        self._report(ReadSoFar(done, len(self.sizes), self._read, sum(self.sizes)))

    def whole(self, place: int) -> None:
        """Report that a source is read."""
        self.at(place, 1.0)

    @property
    def _read(self) -> float:
        return sum(size * share for size, share in zip(self.sizes, self._shares, strict=True))


def _at_intervals() -> Advance:
    """Return what tells how far the present source is read, now and then."""
    last = time.monotonic()

    def advance_at_intervals(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        # A complete source is reported by the executor, once no error can occur any more.
        if now - last >= REPORT_PERIOD and share < 1.0:
            last = now
            advance(share)

    return advance_at_intervals
