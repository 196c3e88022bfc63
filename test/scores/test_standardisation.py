# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Features brought to one scale."""

import numpy as np
import pytest

from failure_monitor.scores.base.score import ScoreState, ScoreUndefinedError
from failure_monitor.scores.base.standardisation import CLIP, Standardisation

FEATURES = np.float32([[0, 5, 1.00001, 10], [2, 5, 1.00002, 30]])


def test_fitting_features_have_mean_0_and_deviation_1():
    standardised = Standardisation.fit(FEATURES, "features")(FEATURES)
    np.testing.assert_allclose(standardised, [[-1, -1], [1, 1]])


def test_near_constant_features_are_left_out():
    assert Standardisation.fit(FEATURES, "features").varying.tolist() == [0, 3]


def test_far_values_are_clipped():
    standardise = Standardisation.fit(FEATURES, "features")
    far = standardise(np.float32([1e9, 0, 0, -1e9]))
    assert far.tolist() == [CLIP, -CLIP]


def test_it_is_stored_and_restored():
    standardise = Standardisation.fit(FEATURES, "features")
    again = Standardisation.from_state(
        ScoreState(arrays=standardise.arrays("embedding")), "embedding"
    )
    np.testing.assert_array_equal(again(FEATURES), standardise(FEATURES))


def test_features_that_never_vary_are_refused():
    with pytest.raises(ScoreUndefinedError, match="knn: the embeddings are the same at every"):
        Standardisation.fit(np.ones((5, 3), np.float32), "knn: the embeddings")
