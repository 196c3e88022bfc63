# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays of one shape by their stamps, such as all embeddings of a bag, in one block of memory."""

from __future__ import annotations

from collections.abc import KeysView, Sequence

import numpy as np
from numpy.typing import NDArray

MAX_PREALLOCATED_ROWS = 1 << 20
"""Rows that are allocated at once, however many messages a bag claims to hold."""


class StampedArrays:
    """Float32 arrays of one shape, by their stamps in nanoseconds.

    An array is copied once, when it is added.

    Attributes:
        newest: The latest stamp; 0 before the first.
    """

    def __init__(self, expected: int = 0) -> None:
        """Start empty.

        Args:
            expected: How many arrays will probably be added.
        """
        self._expected = min(max(expected, 1), MAX_PREALLOCATED_ROWS)
        self.newest = 0
        self._rows: dict[int, int] = {}
        self._values: NDArray[np.float32] = np.empty(0, np.float32)

    def __contains__(self, stamp: int) -> bool:
        return stamp in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of each array; meaningless while there is none."""
        return self._values.shape[1:]

    def stamps(self) -> KeysView[int]:
        """Return the stamps of all arrays."""
        return self._rows.keys()

    def add(self, stamp: int, values: NDArray[np.float32]) -> None:
        """Add a copy of an array, which must have the shape of the others."""
        row = len(self._rows)
        if row == 0:
            self._values = np.empty((self._expected, *values.shape), np.float32)
        elif row == len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._values[row] = values
        self._rows[stamp] = row
        self.newest = max(self.newest, stamp)

    def at(self, stamps: Sequence[int]) -> NDArray[np.float32]:
        """Return the arrays at some stamps, (T, …).

        They are a view, without a copy, if they were added one after another in this order.
        """
        rows = [self._rows[stamp] for stamp in stamps]
        if rows == list(range(rows[0], rows[0] + len(rows))):
            return self._values[rows[0] : rows[0] + len(rows)]
        return self._values[rows]
