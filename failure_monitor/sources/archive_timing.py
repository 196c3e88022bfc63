# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""When the decisions of a rollout archive were, and which of them are of which rollout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from failure_monitor.sources.archive_arrays import FLOATS, WHOLE_NUMBERS, ArchiveArrays
from failure_monitor.sources.archive_meta import ArchiveMeta
from failure_monitor.sources.source import SourceError

MAX_FIRST_STEP = 1e6
"""Seconds from a first stamp of 0 beyond which it is none, but missing."""


def read_slices(arrays: ArchiveArrays, decisions: int) -> list[slice]:
    """Return which of so many decisions are each rollout's.

    Raises:
        SourceError: A rollout is empty, lies outside of the arrays, or shares a decision.
    """
    starts = arrays.read("episode_start", WHOLE_NUMBERS, ("M",))
    lengths = arrays.read("episode_length", WHOLE_NUMBERS, starts.shape)
    slices = []
    for index, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        if length < 1:
            raise SourceError(
                f"{arrays.path}: 'episode_length' of rollout {index} is {length}, expected 1 or "
                "more: leave out rollouts without a decision"
            )
        if start < 0 or start + length > decisions:
            raise SourceError(
                f"{arrays.path}: 'episode_start' and 'episode_length' put rollout {index} at "
                f"decisions {start} to {start + length - 1}, but the arrays hold 0 to "
                f"{decisions - 1}: write it again"
            )
        slices.append(slice(start, start + length))
    _reject_shared_decisions(arrays, slices)
    return slices


def _reject_shared_decisions(arrays: ArchiveArrays, slices: Sequence[slice]) -> None:
    in_order = sorted(range(len(slices)), key=lambda index: slices[index].start)
    for one, other in pairwise(in_order):
        if slices[other].start < slices[one].stop:
            raise SourceError(
                f"{arrays.path}: 'episode_start' and 'episode_length' give the decision "
                f"{slices[other].start} to the rollouts {one} and {other}: write each decision of "
                "each rollout once"
            )


def read_stamps(
    arrays: ArchiveArrays, meta: ArchiveMeta, slices: Sequence[slice], decisions: int
) -> NDArray[np.float64]:
    """Return the seconds of each decision, (N,).

    Raises:
        SourceError: Those of a rollout do not rise, or the first is missing.
    """
    stamps = _seconds(arrays, meta, decisions)
    _reject_stamps_that_do_not_rise(arrays, stamps, slices)
    return stamps


def _seconds(arrays: ArchiveArrays, meta: ArchiveMeta, decisions: int) -> NDArray[np.float64]:
    if "stamp" in arrays:
        return arrays.read("stamp", FLOATS, (decisions,)).astype(np.float64)
    steps = arrays.read("env_step", WHOLE_NUMBERS, (decisions,))
    return np.asarray(steps * meta.control_step_seconds(), dtype=np.float64)


def _reject_stamps_that_do_not_rise(
    arrays: ArchiveArrays, stamps: NDArray[np.float64], slices: Sequence[slice]
) -> None:
    name = "stamp" if "stamp" in arrays else "env_step"
    for index, part in enumerate(slices):
        own = stamps[part]
        where = f"{arrays.path}: '{name}' of rollout {index}"
        if not np.isfinite(own).all():
            raise SourceError(
                f"{where} is NaN or infinite at its decision {_first(~np.isfinite(own))}: write "
                "the time of each observation"
            )
        falls = np.diff(own) <= 0
        if falls.any():
            at = _first(falls)
            raise SourceError(
                f"{where} does not rise: its decision {at} is of {own[at]:.9g} s and the next of "
                f"{own[at + 1]:.9g} s: {_why_not_rising(arrays, name, own, at)}"
            )
        if len(own) > 1 and own[0] == 0 and own[1] > MAX_FIRST_STEP:
            raise SourceError(
                f"{where} is 0 at its first decision and {own[1]:.9g} s at the next, so the first "
                "has no stamp: write the time of each observation, or leave the decision out"
            )


def _first(is_wrong: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(is_wrong)[0])


def _why_not_rising(arrays: ArchiveArrays, name: str, own: NDArray[np.float64], at: int) -> str:
    dtype = arrays.dtype(name)
    if own[at + 1] == own[at] and dtype.kind == FLOATS and dtype.itemsize < 8:
        return (
            f"{dtype} cannot tell such times apart; write the stamps as float64, or in seconds "
            "from the rollout's begin"
        )
    if own[at + 1] < own[at]:
        return (
            "a clock was set back, or two rollouts are written as one; write each as a rollout of "
            "its own, or leave it out"
        )
    return "write the time of each observation, or leave out decisions on the same one"
