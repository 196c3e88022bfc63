# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What runs work over many items, wherever that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs work over many items; the same results wherever it runs, but for time."""

    def map(
        self,
        work: Callable[[Any, Item], Result],
        shared: Any,
        items: Sequence[Item],
        *,
        sizes: Sequence[float] = (),
        finished: Callable[[int], None] = lambda place: None,
    ) -> list[Result]:
        """Return the results of `work(shared, item)`, in the order of the items.

        Args:
            work: A function that is importable by its name.
            shared: What every piece of work needs; handed to each worker once.
            items: What is worked on.
            sizes: How large each is, so that the largest begin first; none where all are alike.
            finished: Receives the place of each item when its result is there.

        Raises:
            FailureMonitorError: What the work raised for the first item, by place, that failed,
                or a worker ended and the work cannot be done elsewhere.
        """


class SerialExecutor:
    """Runs everything in this process, one item after the other."""

    def map(
        self,
        work: Callable[[Any, Item], Result],
        shared: Any,
        items: Sequence[Item],
        *,
        sizes: Sequence[float] = (),
        finished: Callable[[int], None] = lambda place: None,
    ) -> list[Result]:
        """Return the results, as `Executor.map` does."""
        results = []
        for place, item in enumerate(items):
            results.append(work(shared, item))
            finished(place)
        return results
