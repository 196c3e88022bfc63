# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The distance of a network's tokens from those of successful rollouts."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from testbed.moving_rollouts import MOVING, moving_rollout

from failure_monitor.decision import InvalidDecisionError
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.base.shrunk_covariance import shrunk_covariance
from failure_monitor.scores.token_distance import MAX_FEATURES, TokenDistance


@pytest.fixture(scope="module")
def rollouts():
    return [moving_rollout(seed) for seed in range(6)]


def with_tokens(rollout, tokens):
    return dataclasses.replace(rollout, tokens=np.asarray(tokens, np.float32))


def test_it_is_the_mean_mahalanobis_distance_from_the_means_of_the_places(rollouts):
    tokens = np.concatenate([rollout.tokens for rollout in rollouts]).astype(np.float64)
    means = tokens.mean(axis=0)
    deviation = np.sqrt(((tokens - means) ** 2).mean(axis=(0, 1)))
    scaled = (tokens - means) / deviation
    inverse = np.linalg.inv(shrunk_covariance(scaled.reshape(-1, 4)))
    new = moving_rollout(9)
    apart = (new.tokens - means) / deviation
    expected = np.sqrt(np.einsum("tni,ij,tnj->tn", apart, inverse, apart) / 4).mean(axis=1)
    score = TokenDistance.fit(rollouts, MOVING)
    np.testing.assert_allclose(score.score_rollout(new), expected, rtol=1e-4)


def test_one_unfamiliar_token_raises_it(rollouts):
    score = TokenDistance.fit(rollouts, MOVING)
    tokens = rollouts[0].tokens.copy()
    tokens[5, 1] += 30
    values = score.score_rollout(with_tokens(rollouts[0], tokens))
    usual = score.score_rollout(rollouts[0])
    assert values[5] > 3 * usual.max()
    np.testing.assert_array_equal(np.delete(values, 5), np.delete(usual, 5))


def test_many_features_are_combined_and_memory_stays_bounded():
    """Of 1024 features no covariance of all is made, which would take 8 MB alone."""
    random = np.random.default_rng(0)
    many = [
        with_tokens(moving_rollout(seed), random.normal(size=(len(moving_rollout(seed)), 2, 1024)))
        for seed in range(4)
    ]
    tracemalloc.start()
    score = TokenDistance.fit(many, MOVING)
    usual = score.score_rollout(many[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert score.state().arrays["weights"].shape == (1024, MAX_FEATURES)
    assert peak < 8e6
    far = score.score_rollout(with_tokens(many[0], many[0].tokens + 3))
    assert (far > 2 * usual).all()


def test_a_feature_that_never_changes_does_not_count(rollouts):
    constant = [
        with_tokens(r, np.concatenate([r.tokens, np.ones_like(r.tokens[..., :1])], axis=-1))
        for r in rollouts
    ]
    np.testing.assert_allclose(
        TokenDistance.fit(constant, MOVING).score_rollout(constant[0]),
        TokenDistance.fit(rollouts, MOVING).score_rollout(rollouts[0]),
        rtol=1e-5,
    )
    same = [with_tokens(r, np.ones_like(r.tokens)) for r in rollouts]
    with pytest.raises(ScoreUndefinedError, match="token_distance: the tokens are the same"):
        TokenDistance.fit(same, MOVING)
    none = [with_tokens(r, r.tokens[:, :0]) for r in rollouts]
    with pytest.raises(ScoreUndefinedError, match=r"have shape \(0, 4\) and hold nothing"):
        TokenDistance.fit(none, MOVING)


def test_missing_tokens_and_those_of_another_policy_are_refused(rollouts):
    without = dataclasses.replace(rollouts[1], tokens=None)
    with pytest.raises(ScoreUndefinedError, match=r"token_distance: .* has no tokens: record"):
        TokenDistance.fit([rollouts[0], without], MOVING)
    other = with_tokens(rollouts[1], rollouts[1].tokens[:, :2])
    with pytest.raises(InvalidDecisionError, match=r"shape \(3, 4\), those of .* \(2, 4\)"):
        TokenDistance.fit([rollouts[0], other], MOVING)
    score = TokenDistance.fit(rollouts, MOVING)
    assert score.token_shape == (3, 4)
    with pytest.raises(InvalidDecisionError, match="has no tokens, which the score"):
        score.score_rollout(without)
    with pytest.raises(
        InvalidDecisionError, match=r"shape \(2, 4\), expected \(N, F\) = \(3, 4\)"
    ):
        score.update(next(other.decisions()))
