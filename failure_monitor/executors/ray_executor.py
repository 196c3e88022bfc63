# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Work on a Ray cluster, or on a local one that ends with this process.

Ray decides where and when a piece of work runs, and runs it again where a worker or a node ends.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from failure_monitor.executors.executor import (
    Advanced,
    Finished,
    Item,
    Kept,
    Result,
    nothing_advanced,
    nothing_finished,
)
from failure_monitor.executors.memory_limit import limit_memory
from failure_monitor.executors.outcome import Outcome, Outcomes, outcome_of
from failure_monitor.executors.present_work import present_work
from failure_monitor.executors.ray_cluster import ClusterError, connected, reject_wants

MAX_RETRIES = 2
"""How often Ray does a piece of work again whose worker ended."""

PIECES_PER_CPU = 8
"""Pieces of work that Ray has at a time, for each CPU of the cluster."""

LOOK_PERIOD = 0.5
"""Seconds after which it looks anyway."""


@dataclass(frozen=True)
class RayExecutor:
    """Runs work on the cluster that RAY_ADDRESS names, else on a local one.

    Attributes:
        jobs: The CPUs of the local one.
        memory: The bytes that each worker may take; None for no limit.
        gpus: The GPUs of each worker.
    """

    jobs: int
    memory: int | None = None
    gpus: float = 0.0

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
        if not items:
            return []
        ray = connected(self.jobs)
        reject_wants(ray, self.gpus, self.memory)
        piece = ray.remote(_work).options(
            num_cpus=1,
            num_gpus=self.gpus or None,
            memory=self.memory,
            max_retries=MAX_RETRIES,
            name=getattr(work, "__qualname__", "work"),
        )
        # As an array, which workers of a node share; each makes it anew once, and not every time.
        packed = ray.put(np.frombuffer(pickle.dumps(shared, protocol=5), np.uint8))
        handed = _Handed(uuid4().hex, work, self.memory, os.getcwd())
        sizes = sizes or [1.0] * len(items)
        order = list(range(len(items)))
        if kept is None:
            # The largest first, so that at the end no worker works alone.
            order.sort(key=lambda place: -sizes[place])
        submitted = ((piece.remote(packed, handed, items[place]), place) for place in order)
        outcomes = Outcomes(items, lost, kept)
        try:
            _gather(ray, submitted, finished, outcomes)
        except BaseException:
            # Without a driver, Ray ends its work at once, whatever that does.
            ray.shutdown()
            raise
        return outcomes.results()


def _gather(
    ray: Any, submitted: Iterator[tuple[Any, int]], finished: Finished, outcomes: Outcomes
) -> None:
    """Gather how each piece of work came out, or those before one that failed."""
    pending: dict[Any, int] = {}
    most = math.ceil(PIECES_PER_CPU * ray.cluster_resources().get("CPU", 1.0))
    while True:
        # No more than keep all workers at work: Ray holds what each takes until it is done.
        if outcomes.failed is None:
            free = most - len(pending) - outcomes.waiting
            pending.update(islice(submitted, max(0, free)))
        if not pending:
            return
        references = list(pending)
        ready, _ = ray.wait(
            references, num_returns=math.ceil(len(references) / 2), timeout=LOOK_PERIOD
        )
        for reference in ready:
            place = pending.pop(reference)
            outcomes.add(place, _outcome(ray, reference))
            finished(place)


def _outcome(ray: Any, reference: Any) -> Outcome:
    """Return how a piece of work came out that Ray does no more."""
    kinds = ray.exceptions
    try:
        return ray.get(reference)  # type: ignore[no-any-return]
    except kinds.OutOfMemoryError:
        return Outcome(lost="ran out of memory on every worker that worked on it")
    except (kinds.WorkerCrashedError, kinds.NodeDiedError, kinds.ObjectLostError) as error:
        return Outcome(lost=f"ended every worker that worked on it ({type(error).__name__})")
    except kinds.RayTaskError:  # a fault of this program, with its traceback
        raise
    except kinds.RayError as error:
        said = str(error).strip().partition("\n")[0]
        raise ClusterError(
            f"the Ray cluster cannot go on ({type(error).__name__}: {said}): look at its logs, "
            "and run this again"
        ) from None


@dataclass(frozen=True, eq=False)
class _Handed:
    """What every piece of work takes, but for what is shared, of which this has the name."""

    name: str
    work: Callable[[Any, Any], Any]
    memory: int | None
    folder: str


_kept: dict[str, Any] = {}
"""What this worker has of what is shared, by its name: the last alone."""


def _work(packed: NDArray[np.uint8], handed: _Handed, item: Any) -> Outcome:
    """Work on an item, on a worker."""
    limit_memory(handed.memory)
    # So that paths mean what they mean to the command; where it is not, they are not either.
    with suppress(OSError):
        os.chdir(handed.folder)
    if handed.name not in _kept:
        _kept.clear()
        _kept[handed.name] = pickle.loads(packed.data)
    with present_work(worker=f"the worker on node {_node()}"):
        return outcome_of(handed.work, _kept[handed.name], item)


@cache
def _node() -> str:
    import ray

    return str(ray.util.get_node_ip_address())
