# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How a piece of work came out in a worker, in a form that can be handed to this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import LogRecord
from typing import Any

from failure_monitor.errors import FailureMonitorError
from failure_monitor.executors.executor import Kept


class WorkerEndedError(FailureMonitorError):
    """Workers ended by themselves, and the work cannot be done elsewhere."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a piece of work came out.

    Attributes:
        result: What it returned.
        error: What it raised, instead.
        lost: Why there is neither: a sentence's end, such as 'ended every worker that began it'.
        records: What was logged meanwhile.
    """

    result: Any = None
    error: Exception | None = None
    lost: str = ""
    records: tuple[LogRecord, ...] = ()


def outcome_of(work: Callable[[Any, Any], Any], shared: Any, item: Any) -> Outcome:
    """Do a piece of work in a worker; return how it came out."""
    keeper = _RecordKeeper()
    logging.basicConfig(level=logging.INFO, handlers=[keeper], force=True)
    result, error, lost = None, None, ""
    try:
        result = work(shared, item)
    # What is wrong with this program is raised as it is, with its traceback.
    except (FailureMonitorError, ModuleNotFoundError) as raised:
        error = raised
    except MemoryError:
        lost = "needs more memory than its worker has (--worker-memory)"
    return Outcome(result, error, lost, tuple(keeper.records))


@dataclass(eq=False)
class Outcomes:
    """How all pieces of work came out, of which as little stays as is wanted.

    Attributes:
        items: What is worked on.
        lost: As in `Executor.map`.
        kept: As in `Executor.map`.
        next: The place of the first item that is not received yet.
        by_place: The outcomes, by the places of the items.
        failed: The first place of an item whose work failed; None if none has.
        waiting: How many are here in full, for want of one before them.
    """

    items: Sequence[Any]
    lost: Callable[[Any, str], Any] | None
    kept: Kept | None
    next: int = 0
    by_place: dict[int, Outcome] = field(default_factory=dict)
    failed: int | None = None
    waiting: int = 0

    def add(self, place: int, outcome: Outcome) -> None:
        """Add an outcome, and hand over those whose turn it is."""
        self.by_place[place] = outcome
        self._note(place)
        if self.kept is None:
            return
        self.waiting += 1
        while self._is_received(self.next):
            self.waiting -= 1
            self.next += 1

    def results(self) -> list[Any]:
        """Return the results in order of the items; log what is not logged yet.

        Raises:
            FailureMonitorError: What the first item by place raised, or no worker survives it.
        """
        return results_of(self.by_place, self.items, self.lost)

    def _is_received(self, place: int) -> bool:
        """Hand over the result at a place; return whether there was one."""
        outcome = self.by_place.get(place)
        if self.kept is None or outcome is None or outcome.error is not None:
            return False
        if outcome.lost and self.lost is None:
            return False
        for record in outcome.records:
            logging.getLogger(record.name).handle(record)
        result = outcome.result
        if outcome.lost and self.lost is not None:
            result = self.lost(self.items[place], outcome.lost)
        try:
            self.by_place[place] = Outcome(self.kept(result))
        except FailureMonitorError as error:
            self.by_place[place] = Outcome(error=error)
            self._note(place)
            return False
        return True

    def _note(self, place: int) -> None:
        if self.by_place[place].error is not None:
            self.failed = place if self.failed is None else min(place, self.failed)


def results_of(
    outcomes: Mapping[int, Outcome],
    items: Sequence[Any],
    lost: Callable[[Any, str], Any] | None,
) -> list[Any]:
    """Return the results in order of the items, and log what was logged in this order.

    Args:
        outcomes: By the places of the items; all of them, or all before one with an error.
        items: What was worked on.
        lost: Returns what stands for the result of an item that no worker survives.

    Raises:
        FailureMonitorError: What the first item by place raised, or no worker survives it.
    """
    for place in sorted(outcomes):
        for record in outcomes[place].records:
            logging.getLogger(record.name).handle(record)
    results = []
    for place in sorted(outcomes):
        outcome = outcomes[place]
        if outcome.error is not None:
            raise outcome.error
        if not outcome.lost:
            results.append(outcome.result)
        elif lost is not None:
            results.append(lost(items[place], outcome.lost))
        else:
            raise WorkerEndedError(
                f"piece {place + 1} of {len(items)} of the work {outcome.lost}: give workers more "
                "memory, or fewer at a time (--jobs)"
            )
    return results


class _RecordKeeper(logging.Handler):
    """Keeps log records in a form that can be sent to another process."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[LogRecord] = []

    def emit(self, record: LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        self.records.append(record)
