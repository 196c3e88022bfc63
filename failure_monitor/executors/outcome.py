# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How a piece of work came out in a worker, in a form that can be handed to this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import LogRecord
from typing import Any

from failure_monitor.errors import FailureMonitorError


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
