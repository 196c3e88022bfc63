# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which rollouts each promise of a calibration is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import Rollout
from failure_monitor.listed_names import list_names
from failure_monitor.thresholds.conformal import (
    CalibrationError,
)


def of_promises(
    rollouts: Sequence[Rollout], settings: CalibrationSettings
) -> dict[str, NDArray[np.int64]]:
    """Return the indices of the rollouts of each promise; one across tasks has no name."""
    if settings.promise == "across-tasks":
        return {"": np.arange(len(rollouts))}
    return by_task(rollouts)


def tasks_across(rollouts: Sequence[Rollout], settings: CalibrationSettings) -> list[str]:
    """Return the task of each rollout, for a promise across tasks; else none."""
    across = settings.promise == "across-tasks"
    return [rollout.task for rollout in rollouts] if across else []


def without_tasks(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Return rollouts that name no task."""
    return [replace(rollout, task="") for rollout in rollouts]


def by_task(rollouts: Sequence[Rollout]) -> dict[str, NDArray[np.int64]]:
    """Return the indices of each task's rollouts; unnamed tasks are one task without a name.

    Raises:
        CalibrationError: some of the rollouts name a task, and others none.
    """
    tasks = np.array([rollout.task for rollout in rollouts])
    names = [str(task) for task in np.unique(tasks)]
    if len(names) > 1 and "" in names:
        unnamed = [rollout.name for rollout in rollouts if not rollout.task]
        raise CalibrationError(
            f"{len(unnamed)} of the rollouts name no task ({list_names(unnamed)}), others are "
            f"of {', '.join(names[1:])}: name the task of all or of none"
        )
    return {task: np.flatnonzero(tasks == task) for task in names}


@contextmanager
def naming(task: str) -> Iterator[None]:
    """Add the task's name to errors."""
    try:
        yield
    except CalibrationError as error:
        raise CalibrationError(f"task '{task}': {error}" if task else str(error)) from None
