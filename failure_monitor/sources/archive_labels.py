# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a rollout archive states of each rollout as a whole: its name, outcome, task and origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from failure_monitor.decision import OutcomeSource
from failure_monitor.sources.archive_arrays import FLOATS, TEXTS, TRUTHS, ArchiveArrays, of_some
from failure_monitor.sources.source import SourceError

OUTCOME_SOURCES: tuple[OutcomeSource, ...] = get_args(OutcomeSource)


@dataclass(frozen=True)
class ArchiveLabels:
    """What is stated of one rollout; empty or None is what is not. The fields are a Rollout's."""

    name: str
    source: str
    sha256: str
    task: str
    group: str
    success: bool | None
    outcome_by: OutcomeSource
    calibration: bool | None
    claim: bool | None
    judged: float | None


def read_labels(arrays: ArchiveArrays, count: int) -> list[ArchiveLabels]:
    """Return what an archive states of each of so many rollouts.

    Raises:
        SourceError: An array is of another kind or size, or an outcome of an unknown source.
    """
    outcomes = _flags(arrays, "success", "success_known", count)
    calibration = _flags(arrays, "is_calibration", "calibration_known", count)
    groups = _texts(arrays, "subtype", count)
    names = _texts(arrays, "name", count)
    origins = _texts(arrays, "source", count)
    hashes = _texts(arrays, "sha256", count)
    tasks = _texts(arrays, "task", count)
    claims = of_some(arrays, "claim", TRUTHS, (count,), count)
    judged = of_some(arrays, "judged", FLOATS, (count,), count)
    outcomes_by = _outcomes_by(arrays, count)
    return [
        ArchiveLabels(
            name=names[index],
            source=origins[index],
            sha256=hashes[index],
            task=tasks[index],
            group=groups[index],
            success=outcomes[index],
            outcome_by=outcomes_by[index],
            calibration=calibration[index],
            claim=None if (claim := claims.one(index)) is None else bool(claim),
            judged=None if (number := judged.one(index)) is None else float(number),
        )
        for index in range(count)
    ]


def _texts(arrays: ArchiveArrays, name: str, count: int) -> list[str]:
    texts: list[str] = arrays.read_or(np.full(count, ""), name, TEXTS).tolist()
    return texts


def _outcomes_by(arrays: ArchiveArrays, count: int) -> list[OutcomeSource]:
    """Return who stated the outcome of each rollout."""
    stated: list[OutcomeSource] = arrays.read_or(np.full(count, ""), "outcome_by", TEXTS).tolist()
    for index, by in enumerate(stated):
        if by not in OUTCOME_SOURCES:
            raise SourceError(
                f"{arrays.path}: 'outcome_by' of rollout {index} is '{by}', expected "
                f"{', '.join(filter(None, OUTCOME_SOURCES))}, or nothing: write who stated it"
            )
    return stated


def _flags(arrays: ArchiveArrays, name: str, known_name: str, count: int) -> list[bool | None]:
    if name != "success" and name not in arrays:
        return [None] * count
    flags = arrays.read(name, TRUTHS, (count,))
    known = arrays.read_or(np.ones(count, dtype=bool), known_name, TRUTHS)
    return [bool(flag) if is_known else None for flag, is_known in zip(flags, known, strict=True)]
