# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What runs work over many items, wherever that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from failure_monitor.executors.present_work import present_work

Item = TypeVar("Item")
Result = TypeVar("Result")

Finished = Callable[[int], None]
Advanced = Callable[[int, float], None]
Kept = Callable[[Any], Any]


def nothing_finished(place: int) -> None:
    """Tell nobody that an item is finished."""


def nothing_advanced(place: int, share: float) -> None:
    """Tell nobody how far an item is."""


class Executor(Protocol):
    """Runs work over many items; the same results wherever it runs, but for time."""

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
        """Return the results of `work(shared, item)`, in the order of the items.

        Args:
            work: A function that is importable by its name.
            shared: What every piece of work needs; handed to each worker once.
            items: What is worked on.
            sizes: How large each is, so that the largest begin first; none where all are alike.
            finished: Receives the place of each item when its result is there.
            advanced: Receives the place of an item and the share of it that is done, as its work
                tells by `advance`, where this is known.
            lost: Returns the result that stands for an item that no worker survives, given the
                item and why, the end of a sentence; None raises an error.
            kept: Receives each result in this process, in the order of the items, as soon as all
                before it were received, and returns what stays of it. Work then begins in this
                order, and no further ahead than a few items for each worker, so that memory does
                not grow. None keeps all of it.

        Raises:
            FailureMonitorError: What the work raised for the first item, by place, that failed,
                or a worker ended and the work cannot be done elsewhere.
        """


@dataclass(frozen=True)
class SerialExecutor:
    """Runs everything in this process, one item after the other."""

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
        results = []
        for place, item in enumerate(items):
            result = work_here(work, shared, item, place, advanced)
            results.append(result if kept is None else kept(result))
            finished(place)
        return results


def work_here(
    work: Callable[[Any, Item], Result], shared: Any, item: Item, place: int, advanced: Advanced
) -> Result:
    """Do a piece of work in this process."""
    with present_work(lambda share: advanced(place, share)):
        return work(shared, item)
