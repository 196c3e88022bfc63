# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which executor works, by what the user asks for."""

from __future__ import annotations

import math
import os
from typing import Literal, get_args

from failure_monitor.errors import UsageError, one_of
from failure_monitor.executors.executor import Executor, SerialExecutor
from failure_monitor.executors.memory_limit import check_size
from failure_monitor.executors.process_executor import ProcessExecutor

ExecutorKind = Literal["serial", "processes", "ray"]
EXECUTOR_KINDS: tuple[ExecutorKind, ...] = get_args(ExecutorKind)


def chosen_executor(
    kind: str,
    *,
    jobs: int | None = None,
    memory: int | None = None,
    gpus: float = 0.0,
    isolates: bool = False,
) -> Executor:
    """Return what works over rollouts.

    Args:
        kind: One of EXECUTOR_KINDS.
        jobs: The processes of this machine that work at a time; None means one for each core.
        memory: The bytes that each worker may take; None for no limit.
        gpus: The GPUs of each worker.
        isolates: Whether no work is done in this process, so that none can end it.

    Raises:
        UsageError: There is no such executor, or it takes no such setting.
    """
    chosen = one_of(kind, EXECUTOR_KINDS, "executor")
    if jobs is not None and jobs < 1:
        raise UsageError(f"{jobs} jobs cannot work: give a number from 1 on, or none")
    check_size(memory)
    if not 0 <= gpus < math.inf:
        raise UsageError(f"{gpus:g} GPUs are no number of GPUs: give 0 or more (--worker-gpus)")
    if gpus > 1 and not float(gpus).is_integer():
        raise UsageError(
            f"{gpus:g} GPUs cannot be had: give a whole number, or a share of one (--worker-gpus)"
        )
    if gpus and chosen != "ray":
        raise UsageError(
            "'--worker-gpus' is for '--executor ray', which knows who has a GPU: choose it, or "
            "leave the option out"
        )
    if chosen == "serial":
        if memory is not None or isolates:
            raise UsageError(
                "'--executor serial' has no workers, whose memory could be bounded or whose end "
                "survived: choose 'processes' or 'ray', or leave '--worker-memory' and "
                "'--skip-unreadable' out"
            )
        return SerialExecutor()
    processes = jobs or len(os.sched_getaffinity(0))
    if chosen == "ray":
        from failure_monitor.executors.ray_executor import RayExecutor

        return RayExecutor(processes, memory, gpus)
    return ProcessExecutor(processes, memory, isolates)
