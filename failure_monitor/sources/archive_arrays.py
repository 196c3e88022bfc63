# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The arrays of a rollout archive, each checked when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.source import SourceError

FLOATS, WHOLE_NUMBERS, TRUTHS, TEXTS = "f", "iu", "b", "U"
"""Kinds of dtypes in numpy."""

EMBEDDINGS = "obs_embedding"
"""The name of an array that may be missing."""

EXTERNAL = "external_"
"""What the names of the arrays of external scores begin with."""

HAS = "has_"
"""Prefix of the name of an array that says which rollouts have the values of another array."""

Array = NDArray[Any]
Size = int | str
"""The required size of an axis, or a letter for an axis of any size."""


class OpenArchive(Protocol):
    """The arrays of an open archive, of which one is read when it is asked for."""

    @property
    def files(self) -> Sequence[str]:
        """The names of all arrays."""

    def __getitem__(self, name: str) -> Array:
        """Return an array."""


class ArchiveArrays:
    """The arrays of an open archive, each checked when it is read."""

    def __init__(self, path: str, npz: OpenArchive) -> None:
        self.path = path
        self._npz = npz

    @property
    def names(self) -> Sequence[str]:
        """The names of all arrays."""
        return self._npz.files

    def __contains__(self, name: str) -> bool:
        return name in self._npz.files

    def read(self, name: str, kinds: str, sizes: Sequence[Size]) -> Array:
        """Return the array of that name, with one of these kinds of dtypes and these sizes.

        Raises:
            SourceError: It is missing, cannot be read, or is of another kind or size.
        """
        if name not in self:
            raise SourceError(
                f"{self.path} has no array '{name}', only {', '.join(sorted(self._npz.files))}: "
                "write it in the format of rollout archives"
            )
        try:
            array: Array = self._npz[name]
        except FailureMonitorError:  # of a store that does not answer
            raise
        except Exception as error:  # zip, zlib and numpy each have errors of their own
            raise SourceError(
                f"{self.path}: the array '{name}' cannot be read ({error}): the file is damaged "
                "or holds a pickle; write it again"
            ) from None
        fits = len(array.shape) == len(sizes) and all(
            isinstance(wanted, str) or wanted == size
            for wanted, size in zip(sizes, array.shape, strict=True)
        )
        if array.dtype.kind not in kinds or not fits:
            wanted = f"({', '.join(str(size) for size in sizes)})"
            raise SourceError(
                f"{self.path}: the array '{name}' is {array.dtype} {array.shape}, expected "
                f"{_named(kinds)} {wanted}: write it in the format of rollout archives"
            )
        return array

    def dimensions(self, name: str) -> int:
        """Return the number of an array's axes, 0 if it cannot be read."""
        try:
            return int(self._npz[name].ndim)
        except Exception:  # what is wrong is told when it is read
            return 0

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the dtype in which an array is written."""
        dtype: np.dtype[Any] = self._npz[name].dtype
        return dtype

    def read_or(self, default: Array, name: str, kinds: str) -> Array:
        """Return the array of that name, with the shape of the default; the default if missing."""
        return self.read(name, kinds, default.shape) if name in self else default


def _named(kinds: str) -> str:
    names = {FLOATS: "float", WHOLE_NUMBERS: "whole numbers", TRUTHS: "bool", TEXTS: "str"}
    return names[kinds]


@dataclass(frozen=True, eq=False)
class OfSome:
    """What some rollouts have and others lack; by default all lack it.

    Attributes:
        values: of all decisions, or one of each rollout.
        has: which rollouts have it, (M,).
    """

    values: Array | None = None
    has: NDArray[np.bool_] | None = None

    def one(self, index: int) -> Any:
        """Return the value of a rollout; None if it has none."""
        return self.values[index] if self._has(index) else None  # type: ignore[index]

    def of(self, index: int, part: slice, dtype: Any) -> Any:
        """Return the values at a rollout's decisions; None if it has none."""
        return self.values[part].astype(dtype) if self._has(index) else None  # type: ignore[index]

    def _has(self, index: int) -> bool:
        return self.values is not None and (self.has is None or bool(self.has[index]))


def of_some(
    arrays: ArchiveArrays, name: str, kinds: str, sizes: Sequence[Size], rollouts: int
) -> OfSome:
    """Return an array that may be missing, or be of some of the rollouts alone."""
    if name not in arrays:
        return OfSome()
    has = arrays.read_or(np.ones(rollouts, dtype=bool), HAS + name, TRUTHS)
    return OfSome(arrays.read(name, kinds, sizes), has)
