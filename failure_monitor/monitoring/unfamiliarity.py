# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where a picture is unfamiliar: by occlusion with what is familiar.

A patch of the picture is covered with the same patch of the last picture that was familiar, and
the picture embedded and scored again. With s the score of the whole picture and s_p that with
patch p covered,

    share_p = max(0, 1 − s_p / s)

is the part of the score that goes away with what is in the patch. It asks nothing of the encoder
but that it can be run, unlike the novelty of its inner features, which an exported model does not
give away; the price is one run for every patch.

Covered with grey, as in Zeiler and Fergus ("Visualizing and Understanding Convolutional Networks",
ECCV 2014), a patch is as unfamiliar as what it hides: of foreign objects put into pictures of the
demo's two tasks such a map finds 18 % and 32 % (Mahalanobis distance; 8 % by chance), this one
80 % and 85 % (benchmarks/unfamiliar_places.py). The camera must stand still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.scores.base.score import Score, TimedScore

CELLS = 8
"""Patches along each side, each twice as wide as a cell, so that they overlap by half."""

EMBEDDING_SCORES = ("rnd_oe", "mahalanobis", "knn", "logpzo", "pca_kmeans", "phase_knn")
"""The scores of an embedding alone, and of its number in the rollout; the first is taken."""

Novelty = Callable[[NDArray[np.uint8]], float]
"""The score of a picture, uint8 (height, width, 3)."""


class NoNoveltyError(FailureMonitorError):
    """There is no score that looks at the picture alone."""


@dataclass(frozen=True, eq=False)
class Unfamiliarity:
    """Where a picture is unfamiliar.

    Attributes:
        share: float (rows, columns), the part of the score that vanishes with what is there, 0
            to 1.
        score: the name of the score.
    """

    share: NDArray[np.floating]
    score: str


def embedding_score(scores: tuple[Score, ...]) -> Score:
    """The score that is asked where a picture is unfamiliar.

    Raises:
        NoNoveltyError: none of them judges an embedding alone.
    """
    by_name = {score.name: score for score in scores}
    for name in EMBEDDING_SCORES:
        if name in by_name:
            return by_name[name]
    raise NoNoveltyError(
        "where the picture is unfamiliar cannot be shown: none of the bundle's scores looks at the "
        f"embedding alone; calibrate with one of {', '.join(EMBEDDING_SCORES)}"
    )


def score_embedding(score: Score, embedding: NDArray[np.float32], number: int) -> float:
    """What such a score says of an embedding (E,) at a decision's number in its rollout."""
    rollout = Rollout(
        name="an embedding",
        stamps=np.zeros(1),
        embeddings=embedding[np.newaxis],
        chunks=np.zeros((1, 1, 1, 1), np.float32),
    )
    if isinstance(score, TimedScore):
        return float(score.at(rollout, np.array([number]))[0])
    return float(score.over_rollout(rollout)[0])


def unfamiliarity(
    picture: NDArray[np.uint8],
    familiar: NDArray[np.uint8],
    novelty: Novelty,
    *,
    score: str,
    cells: int = CELLS,
) -> Unfamiliarity:
    """Cover one patch after the other.

    Args:
        picture: uint8 (height, width, 3).
        familiar: another of that shape, to cover patches with.
        novelty: scores a picture; called once for the whole and once for each patch.
        score: the name of the score.
        cells: patches along each side.
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
    """The picture with each patch covered, and the patch's row and column."""
    height, width = picture.shape[:2]
    for row in range(cells):
        for column in range(cells):
            patch = _window(row, height, cells), _window(column, width, cells)
            covered = picture.copy()
            covered[patch] = familiar[patch]
            yield row, column, covered


def _window(index: int, size: int, cells: int) -> slice:
    """A cell's pixels, and half a cell more on both sides, as far as there are any."""
    cell = size / cells
    begin, end = (index - 0.5) * cell, (index + 1.5) * cell
    return slice(max(0, round(begin)), min(size, max(round(end), 1)))
