# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Predicting the next embedding from this one and the mean chunk."""

import dataclasses

import numpy as np
import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.decision import Rollout
from failure_monitor.scores.one_step import (
    RIDGE,
    OneStepPrediction,
    _ridge,
    _whitening,
)


def pushed_rollout(seed: int, *, works: bool = True) -> Rollout:
    """The embedding goes where the chunks' mean says, from where it is; or nothing happens."""
    random = np.random.default_rng(seed)
    rollout = synthetic_rollout(seed, decisions=20)
    pushes = random.normal(size=(20, 1, 1, 1))
    chunks = pushes + 0.01 * random.normal(size=rollout.chunks.shape)
    moves = np.cumsum(pushes[:, 0, 0, 0]) if works else np.zeros(20)
    positions = np.concatenate([[0], moves[:-1]])
    embeddings = positions[:, np.newaxis] * np.arange(1, 7) + 0.05 * random.normal(size=(20, 6))
    return dataclasses.replace(
        rollout, embeddings=embeddings.astype(np.float32), chunks=chunks.astype(np.float32)
    )


@pytest.fixture(scope="module")
def score():
    return OneStepPrediction.fit([pushed_rollout(seed) for seed in range(20)], POLICY)


def test_what_goes_on_as_usual_has_residuals_of_about_1(score):
    assert np.sqrt(np.nanmean(score.score_rollout(pushed_rollout(99)) ** 2)) == pytest.approx(
        1, abs=0.4
    )


def test_it_sees_an_action_without_effect(score):
    stuck = score.score_rollout(pushed_rollout(99, works=False))
    assert np.nanmedian(stuck) > 3 * np.nanmax(score.score_rollout(pushed_rollout(99)))


def test_it_sees_a_leap_at_the_decision_after_it_only(score):
    rollout = pushed_rollout(99)
    embeddings = rollout.embeddings.copy()
    embeddings[8:] += 4
    leap = dataclasses.replace(rollout, embeddings=embeddings)
    difference = score.score_rollout(leap) - score.score_rollout(rollout)
    assert np.nanargmax(difference) == 8
    np.testing.assert_allclose(difference[1:8], 0, atol=1e-9)


def test_the_residual_of_the_ridge_is_that_of_leaving_each_one_out():
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(30, 4)), random.normal(size=(30, 2))
    left_out = []
    for index in range(30):
        x, y = np.delete(features, index, axis=0), np.delete(targets, index, axis=0)
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(4), x.T @ y)
        left_out.append(targets[index] - features[index] @ weights)
    _, residuals = _ridge(features, targets)
    np.testing.assert_allclose(residuals, left_out)


def test_features_that_err_together_count_once():
    random = np.random.default_rng(0)
    shared = random.normal(size=(1000, 1))
    scaled = np.concatenate([shared, shared, random.normal(size=(1000, 1))], axis=1)
    scaled /= np.sqrt(np.mean(scaled**2, axis=0))
    whitening = _whitening(scaled)
    # S is [[1, 0.7], [0.7, 1]] for the two that are the same, whose eigenvalues are 1.7 and 0.3.
    together, apart, alone = np.linalg.norm([[1, 1, 0], [1, -1, 0], [0, 0, 1]] @ whitening, axis=1)
    assert together == pytest.approx(np.sqrt(2 / 1.7 / 3), rel=0.05)
    assert apart == pytest.approx(np.sqrt(2 / 0.3 / 3), rel=0.05)
    assert alone == pytest.approx(np.sqrt(1 / 3), rel=0.05)
