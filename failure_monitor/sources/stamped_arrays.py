# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The embeddings, or the action chunks, of a bag, gathered in one array as they come.

A message is copied once, while it is at hand, and let go.
"""

from __future__ import annotations

from collections.abc import KeysView, Sequence

import numpy as np
from numpy.typing import NDArray

MOST_AT_ONCE = 1 << 20
"""Rows that are made room for on the word of a bag."""


class Halves:
    """One half of each decision, by its stamp in nanoseconds."""

    def __init__(self, expected: int = 0) -> None:
        """Nothing has come.

        Args:
            expected: how many the bag says that there are.
        """
        self._expected = min(max(expected, 1), MOST_AT_ONCE)
        self._rows: dict[int, int] = {}
        self._values: NDArray[np.float32] = np.empty(0, np.float32)

    def __contains__(self, stamp: int) -> bool:
        return stamp in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of each; meaningless before the first."""
        return self._values.shape[1:]

    def stamps(self) -> KeysView[int]:
        """Of those that have come."""
        return self._rows.keys()

    def keep(self, stamp: int, values: NDArray[np.float32]) -> None:
        """Keep a copy of one that has come; all are of one shape."""
        row = len(self._rows)
        if row == 0:
            self._values = np.empty((self._expected, *values.shape), np.float32)
        elif row == len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._values[row] = values
        self._rows[stamp] = row

    def of(self, stamps: Sequence[int]) -> NDArray[np.float32]:
        """Those of some stamps, (T, …); a view where they came in this order, one after another."""
        rows = [self._rows[stamp] for stamp in stamps]
        if rows == list(range(rows[0], rows[0] + len(rows))):
            return self._values[rows[0] : rows[0] + len(rows)]
        return self._values[rows]
