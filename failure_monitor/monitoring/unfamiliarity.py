# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where a picture is unfamiliar, found by covering it with what is familiar.

A patch of the picture is covered with the same patch of the last familiar picture, and the picture
is embedded and scored again. With s the score of the whole picture and s_p the score with patch p
covered,

    share_p = max(0, 1 − s_p / s)

is the share of the score that vanishes with the content of the patch. The encoder need only be
run, once for every patch; its inner features, which an exported model does not put out, are not
needed.

Zeiler and Fergus ("Visualizing and Understanding Convolutional Networks", ECCV 2014) cover patches
with grey. A grey patch is as unfamiliar as what it hides: of foreign objects put into pictures of
the demo's two tasks such a map finds 18 % and 32 % (Mahalanobis distance; 8 % by chance), and this
one 80 % and 85 % (benchmarks/unfamiliar_places.py). The camera must stand still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision
from failure_monitor.errors import FailureMonitorError
from failure_monitor.scores.base.folded_score import FoldedScore

CELLS = 8
"""Number of patches along each side. A patch is twice as wide as a cell, so patches overlap."""

EMBEDDING_SCORES = ("rnd_oe", "mahalanobis", "knn", "logpzo", "pca_kmeans", "phase_knn")
"""Scores that depend on an embedding and its number in the rollout alone, the preferred first."""

Novelty = Callable[[NDArray[np.uint8]], float]
"""Function that scores a picture, uint8 (height, width, 3)."""


class NoNoveltyError(FailureMonitorError):
    """A bundle without a score of the picture alone."""


@dataclass(frozen=True, eq=False)
class Unfamiliarity:
    """A map of where a picture is unfamiliar.

    Attributes:
        share: float (rows, columns), the share of the score that vanishes with the content of each
            patch, from 0 to 1.
        score: the name of the score.
    """

    share: NDArray[np.floating]
    score: str


def embedding_score(scores: tuple[FoldedScore, ...]) -> FoldedScore:
    """Return the score that shows where a picture is unfamiliar.

    Raises:
        NoNoveltyError: none of the scores depends on the embedding alone.
    """
    by_name = {score.name: score for score in scores}
    for name in EMBEDDING_SCORES:
        if name in by_name:
            return by_name[name]
    raise NoNoveltyError(
        "where the picture is unfamiliar cannot be shown: none of the bundle's scores depends on "
        f"the embedding alone; calibrate with one of {', '.join(EMBEDDING_SCORES)}"
    )


def score_embedding(score: FoldedScore, embedding: NDArray[np.float32], number: int) -> float:
    """Return such a score of an embedding (E,) at a decision's number in its rollout.

    It is the mean over the models of all folds. The score goes on from there.
    """
    score.resume(number)
    chunks = np.zeros((1, 1, 1), np.float32)
    return float(score.update(Decision(stamp=0, embedding=embedding, chunks=chunks)).mean())


def unfamiliarity(
    picture: NDArray[np.uint8],
    familiar: NDArray[np.uint8],
    novelty: Novelty,
    *,
    score: str,
    cells: int = CELLS,
) -> Unfamiliarity:
    """Return where a picture is unfamiliar.

    Args:
        picture: the picture, uint8 (height, width, 3).
        familiar: a familiar picture of that shape, with which patches are covered.
        novelty: scores a picture; called once for the whole and once for each patch.
        score: the name of the score.
        cells: the number of patches along each side.
    """
    whole = novelty(picture)
    share = np.zeros((cells, cells))
    if whole > 0:
        for row, column, covered in _covered(picture, familiar, cells):
            share[row, column] = max(0.0, 1.0 - novelty(covered) / whole)
    return Unfamiliarity(np.nan_to_num(share), score)


def _covered(
    picture: NDArray[np.uint8], familiar: NDArray[np.uint8], cells: int
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Yield the row and column of each patch, and the picture with that patch covered."""
    height, width = picture.shape[:2]
    for row in range(cells):
        for column in range(cells):
            patch = _window(row, height, cells), _window(column, width, cells)
            covered = picture.copy()
            covered[patch] = familiar[patch]
            yield row, column, covered


def _window(index: int, size: int, cells: int) -> slice:
    """Return a cell's pixels and half a cell more on each side, within the picture."""
    cell = size / cells
    begin, end = (index - 0.5) * cell, (index + 1.5) * cell
    return slice(max(0, round(begin)), min(size, max(round(end), 1)))
