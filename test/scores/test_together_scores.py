# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What holds of scores that compute the models of all folds together."""

import dataclasses

import numpy as np
import pytest
from testbed.moving_rollouts import MOVING, moving_rollout

from failure_monitor.scores import command_effect, dispersion_profile, one_step, registry
from failure_monitor.scores.base import nearest_neighbours
from failure_monitor.scores.base.nearest_neighbours import NearestNeighbours
from failure_monitor.scores.base.score import ScoreState
from failure_monitor.scores.base.standardisation import Standardisation
from failure_monitor.scores.base.together_score import FoldedTogether, TogetherScore
from failure_monitor.scores.phase_knn import PhaseNeighbourDistance

TOGETHER = [name for name, each in registry.SCORES.items() if issubclass(each, TogetherScore)]
FOLDS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
every_score = pytest.mark.parametrize("name", TOGETHER)


@pytest.fixture(scope="module")
def rollouts():
    # The longest is of fold 2: beyond it the other models know a later phase than this one.
    return [moving_rollout(seed, decisions=10 + seed % 4) for seed in range(8)] + [
        moving_rollout(8, decisions=18),
        moving_rollout(9, decisions=12),
    ]


@pytest.fixture(scope="module")
def new():
    return moving_rollout(99, decisions=22)


def folded(name, rollouts):
    return registry.SCORES[name].fit_folds(rollouts, FOLDS[: len(rollouts)], MOVING, seed=0)


def test_the_default_rule_is_folded_at_little_cost():
    assert set(registry.DEFAULT_SCORES) & set(TOGETHER) >= {
        "command_effect",
        "dispersion_profile",
        "one_step",
        "phase_knn",
        "chunk_lag",
    }


@every_score
def test_both_forms_agree_to_the_last_bit_in_every_model(rollouts, new, name):
    score = folded(name, rollouts)
    assert isinstance(score, FoldedTogether)
    assert score.folds == 3
    for rollout in (new, rollouts[4]):
        score.start_rollout()
        streamed = np.stack([score.update(decision) for decision in rollout.decisions()])
        scored = score.score_rollout(rollout)
        assert scored.shape == (len(rollout), 3)
        np.testing.assert_array_equal(streamed, scored)
        for fold in range(3):
            np.testing.assert_array_equal(score.held_out(rollout, fold), scored[:, fold])


def test_what_scores_share_of_a_decision_changes_none_of_them(rollouts, new):
    # Two of each, so that some are given equal features and some, of other rollouts, others.
    scores = [folded(name, fitted) for name in TOGETHER for fitted in (rollouts, rollouts[:9])]
    together = [[score.update(decision) for score in scores] for decision in new.decisions()]
    for score, own in zip(scores, zip(*together, strict=True), strict=True):
        score.start_rollout()
        np.testing.assert_array_equal([score.update(each) for each in new.decisions()], own)


@every_score
def test_a_model_is_what_a_fit_on_the_other_folds_gives(monkeypatch, rollouts, new, name):
    # But for what is common to all models: the scales of what comes in.
    def as_it_is(features, what):
        size = features.shape[1]
        return Standardisation(np.arange(size), np.zeros(size), np.full(size, 0.3))

    monkeypatch.setattr(Standardisation, "fit", as_it_is)
    monkeypatch.setattr(dispersion_profile, "_ranges", lambda rollouts: np.ones(3))
    scores = folded(name, rollouts).score_rollout(new)
    for fold in range(3):
        others = [r for r, own in zip(rollouts, FOLDS, strict=True) if own != fold]
        alone = registry.SCORES[name].fit(others, MOVING, seed=0)
        np.testing.assert_allclose(scores[:, fold], alone.score_rollout(new), rtol=1e-5, atol=1e-6)
    distinct = np.unique(np.nan_to_num(scores), axis=1).shape[1]
    assert distinct > 1


@every_score
def test_the_models_are_stored_and_restored(rollouts, new, name):
    score = folded(name, rollouts)
    again = registry.SCORES[name].folded_from_state(score.state())
    np.testing.assert_array_equal(again.score_rollout(new), score.score_rollout(new))


@every_score
def test_models_of_all_folds_take_little_more_room_than_one(rollouts, name):
    def size(state: ScoreState) -> dict[str, int]:
        return {part: array.size for part, array in state.arrays.items()}

    one = size(registry.SCORES[name].fit(rollouts, MOVING, seed=0).state())
    three = size(folded(name, rollouts).state())
    for part in ("memory", "frequencies", "phases"):
        assert three.get(part) == one.get(part)


@pytest.mark.parametrize("name", ["command_effect", "one_step"])
def test_a_model_that_was_stored_alone_is_read(rollouts, new, name):
    score = registry.SCORES[name].fit(rollouts, MOVING, seed=0)
    arrays = score.state().arrays
    alone = {
        part: arrays[part][0]
        for part in ("residual", "weights", "whitening")
        if part in arrays and not (name == "one_step" and part == "weights")
    }
    stored = dataclasses.replace(score.state(), arrays={**arrays, **alone})
    restored = registry.SCORES[name].from_state(stored)
    np.testing.assert_array_equal(restored.score_rollout(new), score.score_rollout(new))


def test_a_fold_that_is_nearest_by_far_can_be_left_out():
    near = [moving_rollout(0) for _ in range(30)]
    far = [moving_rollout(seed) for seed in range(1, 4)]
    folds = np.array([0] * 30 + [1] * 3)
    score = PhaseNeighbourDistance.fit_folds(near + far, folds, MOVING, seed=0)
    without, within = score.score_rollout(near[0]).T
    np.testing.assert_allclose(within, 0, atol=1e-5)
    assert without.min() > 0.5


@pytest.mark.parametrize("count", [1, 3, 8, 100])
def test_the_nearest_of_each_fold_by_brute_force(rollouts, count):
    neighbours = NearestNeighbours.fit(rollouts, 0, "knn", FOLDS)
    query = neighbours.features(moving_rollout(99).embeddings[5])
    distances = np.linalg.norm(neighbours.memory - query.astype(np.float64), axis=1)
    nearest = neighbours.nearest(query, count)
    for fold in range(3):
        outside = np.flatnonzero(neighbours.folds != fold)
        expected = outside[np.argsort(distances[outside])[:count]]
        np.testing.assert_array_equal(nearest.places[nearest.counted[fold]], expected)
        mean = neighbours.mean_distances(query, nearest)[fold]
        assert mean == pytest.approx(distances[expected].mean(), rel=1e-5)
        assert nearest.least_squared[fold] == pytest.approx(distances[expected[0]] ** 2, rel=1e-4)
        median = np.median(neighbours.numbers[expected])
        assert nearest.medians(neighbours.numbers)[fold] == median


def test_the_memory_is_searched_further_until_every_fold_has_enough(monkeypatch, rollouts):
    monkeypatch.setattr(nearest_neighbours, "TO_SPARE", 2)
    neighbours = NearestNeighbours.fit(rollouts, 0, "knn", np.array([0] * 9 + [1]))
    nearest = neighbours.nearest(neighbours.features(rollouts[0].embeddings[0]), 8)
    np.testing.assert_array_equal(nearest.counted.sum(axis=1), [8, 8])


def wide(rollout):
    """Embeddings of 90 features that are mixtures of 6, and a little of their own."""
    random = np.random.default_rng(3)
    mixed = rollout.embeddings @ random.normal(size=(6, 90))
    own = 0.05 * np.random.default_rng(int(rollout.name.split()[1])).normal(size=mixed.shape)
    return dataclasses.replace(rollout, embeddings=(mixed + own).astype(np.float32))


@pytest.mark.parametrize("name", ["command_effect", "one_step"])
def test_of_a_long_embedding_the_model_follows_a_part(rollouts, name):
    policy = dataclasses.replace(MOVING, embedding_size=90)
    score = registry.SCORES[name].fit_folds([*map(wide, rollouts)], FOLDS, policy, seed=0)
    assert score.state().arrays["residual"].shape == (3, 64)
    usual = score.score_rollout(wide(moving_rollout(50)))
    # Backwards, and against what was commanded.
    backwards = wide(moving_rollout(50))
    backwards = dataclasses.replace(backwards, embeddings=backwards.embeddings[::-1].copy())
    unusual = score.score_rollout(backwards)
    assert np.isfinite(usual[1:]).all()
    assert np.nanmean(unusual) > 1.2 * np.nanmean(usual)


def test_constants_that_bundles_depend_on():
    assert (command_effect.MOST_FEATURES, one_step.COMPONENTS) == (64, 64)
