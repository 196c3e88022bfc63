# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where a picture is unfamiliar is found where something foreign was put."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failure_monitor.monitoring.unfamiliarity import (
    NoNoveltyError,
    embedding_score,
    score_embedding,
    unfamiliarity,
)
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.knn import NearestNeighbourDistance
from failure_monitor.scores.mahalanobis import Mahalanobis
from failure_monitor.scores.phase_knn import PhaseNeighbourDistance
from failure_monitor.scores.registry import score_named

FAMILIAR = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def difference(picture: np.ndarray) -> float:
    """A score that is 0 for what is familiar."""
    return float(np.abs(picture.astype(float) - FAMILIAR).mean())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 36), st.integers(0, 48), st.integers(0, 2**32))
def test_foreign_object_is_found(top, left, seed):
    picture = FAMILIAR.copy()
    foreign = np.random.default_rng(seed).integers(0, 256, (12, 16, 3))
    picture[top : top + 12, left : left + 16] = foreign
    found = unfamiliarity(picture, FAMILIAR, difference, score="difference").share
    assert found.shape == (8, 8)
    assert (found >= 0).all()
    row, column = np.unravel_index(found.argmax(), found.shape)
    # A patch as large as the object, that overlaps its better part.
    assert abs(6 * (row + 0.5) - (top + 6)) <= 6
    assert abs(8 * (column + 0.5) - (left + 8)) <= 8
    rows, columns = np.nonzero(found)
    assert 6 * (rows.max() + 1.5) >= top
    assert 8 * (columns.min() - 0.5) <= left + 16


def test_object_that_a_patch_covers_explains_all():
    picture = FAMILIAR.copy()
    picture[18:30, 24:40] = 255 - picture[18:30, 24:40]
    found = unfamiliarity(picture, FAMILIAR, difference, score="difference", cells=4)
    assert found.share.max() == pytest.approx(1.0)


def test_familiar_picture_has_no_such_place():
    assert (unfamiliarity(FAMILIAR, FAMILIAR, difference, score="d").share == 0).all()


def test_novelty_is_asked_once_for_each_patch_and_once_for_all():
    asked = []
    unfamiliarity(
        FAMILIAR, FAMILIAR, lambda picture: asked.append(picture.copy()) or 1.0, score="d"
    )
    assert len(asked) == 1 + 64


def test_scores_that_are_no_numbers_are_no_places():
    values = iter([1.0, *[np.nan] * 64])
    found = unfamiliarity(FAMILIAR, FAMILIAR, lambda _: next(values), score="d")
    assert (found.share == 0).all()


@pytest.mark.parametrize(
    "kind", [Mahalanobis, NearestNeighbourDistance, PhaseNeighbourDistance], ids=lambda k: k.name
)
def test_score_of_an_embedding_is_that_of_its_decision(kind, rollouts, policy):
    score = kind.fit_folds(rollouts[:8], np.arange(8) % 2, policy)
    expected = score.score_rollout(rollouts[8]).mean(axis=1)
    for number in (0, 5, 11):
        asked = score_embedding(score, rollouts[8].embeddings[number], number)
        assert asked == pytest.approx(expected[number])


def test_score_of_the_embedding_alone_is_taken(bundle, rollouts, policy):
    assert embedding_score(bundle.scores).name == "rnd_oe"
    ace = FoldedScore([score_named("ace").fit(rollouts, policy)])
    with pytest.raises(NoNoveltyError, match=r"calibrate with one of rnd_oe, mahalanobis"):
        embedding_score((ace,))
