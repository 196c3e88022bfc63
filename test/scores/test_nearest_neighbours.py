# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Scores that look up the nearest fitting decisions: kNN, phase kNN, lag, chunk lag, retrieval."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.scores.base import nearest_neighbours
from failure_monitor.scores.base.nearest_neighbours import NearestNeighbours, choose_decisions
from failure_monitor.scores.chunk_lag import ChunkLag
from failure_monitor.scores.knn import NEIGHBOURS, NearestNeighbourDistance
from failure_monitor.scores.lag import Lag
from failure_monitor.scores.phase_knn import PhaseNeighbourDistance
from failure_monitor.scores.retrieval import Retrieval

ROLLOUTS = [synthetic_rollout(seed, decisions=10 + seed) for seed in range(6)]
embeddings = arrays(np.float32, (2, 6), elements=st.floats(-3, 3, width=32))


def standardised(rollouts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All embeddings at mean 0 and deviation 1, with that mean and deviation."""
    values = np.concatenate([rollout.embeddings for rollout in rollouts]).astype(np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    return (values - mean) / deviation, mean, deviation


def rollout_with(embeddings: np.ndarray):
    count = len(embeddings)
    template = synthetic_rollout(99, decisions=count)
    return dataclasses.replace(template, embeddings=embeddings.astype(np.float32))


def test_knn_is_the_mean_distance_to_the_nearest_by_brute_force():
    memory, mean, deviation = standardised(ROLLOUTS)
    new = synthetic_rollout(77)
    queries = (new.embeddings - mean) / deviation
    distances = np.linalg.norm(queries[:, np.newaxis] - memory, axis=-1)
    expected = np.sort(distances, axis=1)[:, :NEIGHBOURS].mean(axis=1)
    score = NearestNeighbourDistance.fit(ROLLOUTS, POLICY)
    np.testing.assert_allclose(score.score_rollout(new), expected, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(embeddings)
def test_knn_never_changes_more_than_the_embedding(pair):
    score = NearestNeighbourDistance.fit(ROLLOUTS, POLICY)
    _, _, deviation = standardised(ROLLOUTS)
    one, other = score.score_rollout(rollout_with(pair))
    assert abs(one - other) <= np.linalg.norm((pair[0] - pair[1]) / deviation) + 1e-4


def test_fewer_fitting_decisions_than_neighbours_are_all_neighbours():
    short = [rollout_with(np.float32([[0] * 6, [2] * 6]))]
    score = NearestNeighbourDistance.fit(short, POLICY)
    # Standardised they lie at −1 and 1 in each of six dimensions.
    expected = (0 + 2 * np.sqrt(6)) / 2
    np.testing.assert_allclose(score.score_rollout(short[0]), [expected, expected], rtol=1e-6)


def test_phase_knn_tells_a_familiar_embedding_at_the_wrong_time():
    phase = PhaseNeighbourDistance.fit(ROLLOUTS, POLICY)
    anytime = NearestNeighbourDistance.fit(ROLLOUTS, POLICY)
    forward = synthetic_rollout(77)
    backward = rollout_with(forward.embeddings[::-1])
    np.testing.assert_allclose(
        anytime.score_rollout(backward), anytime.score_rollout(forward)[::-1], rtol=1e-6
    )
    assert phase.score_rollout(backward).max() > 2 * phase.score_rollout(forward).max()


def test_phase_knn_by_brute_force():
    memory, mean, deviation = standardised(ROLLOUTS)
    times = np.concatenate([np.arange(len(rollout)) for rollout in ROLLOUTS])
    new = synthetic_rollout(77, decisions=40)
    queries = (new.embeddings - mean) / deviation
    expected = []
    for time, query in enumerate(queries):
        phase = memory[np.abs(times - min(time, times.max())) <= 3]
        distances = np.sort(np.linalg.norm(phase - query, axis=1))
        expected.append(distances[:8].mean())
    score = PhaseNeighbourDistance.fit(ROLLOUTS, POLICY)
    np.testing.assert_allclose(score.score_rollout(new), expected, rtol=1e-5)


def test_a_robot_that_stands_still_falls_behind_decision_by_decision():
    # Every rollout passes the same places at the same times.
    path = np.arange(12)[:, np.newaxis] * np.ones(6)
    fitting = [rollout_with(path) for _ in range(8)]
    score = Lag.fit(fitting, POLICY)
    np.testing.assert_array_equal(score.score_rollout(fitting[0]), np.zeros(12))
    stuck = rollout_with(path[np.minimum(np.arange(12), 4)])
    np.testing.assert_array_equal(score.score_rollout(stuck), [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7])


def test_a_robot_that_is_ahead_of_time_does_not_lag():
    path = np.arange(12)[:, np.newaxis] * np.ones(6)
    score = Lag.fit([rollout_with(path) for _ in range(8)], POLICY)
    ahead = rollout_with(path[np.minimum(2 * np.arange(12), 11)])
    assert score.score_rollout(ahead)[:6].max() == 0


def test_chunk_lag_counts_the_decisions_for_which_the_same_is_planned():
    path = np.arange(12)[:, np.newaxis, np.newaxis, np.newaxis] * np.ones(POLICY.chunk_shape)

    def planning(chunks: np.ndarray):
        rollout = synthetic_rollout(99, decisions=12)
        return dataclasses.replace(rollout, chunks=chunks.astype(np.float32))

    fitting = [planning(path) for _ in range(8)]
    score = ChunkLag.fit(fitting, POLICY)
    np.testing.assert_array_equal(score.score_rollout(fitting[0]), np.zeros(12))
    again = planning(path[np.minimum(np.arange(12), 4)])
    np.testing.assert_array_equal(score.score_rollout(again), [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7])
    ahead = planning(path[np.minimum(2 * np.arange(12), 11)])
    assert score.score_rollout(ahead)[:6].max() == 0


def test_chunk_lag_looks_at_the_mean_chunk_only():
    score = ChunkLag.fit(ROLLOUTS, POLICY)
    rollout = synthetic_rollout(77)
    other = dataclasses.replace(
        rollout, chunks=rollout.chunks[:, ::-1], embeddings=-rollout.embeddings
    )
    np.testing.assert_array_equal(score.score_rollout(other), score.score_rollout(rollout))


def test_retrieval_is_0_where_the_policy_does_what_it_did():
    score = Retrieval.fit(ROLLOUTS, POLICY)
    np.testing.assert_allclose(score.score_rollout(ROLLOUTS[2]), 0, atol=1e-5)
    other = dataclasses.replace(ROLLOUTS[2], chunks=-ROLLOUTS[2].chunks)
    assert score.score_rollout(other).max() > 1


def test_retrieval_looks_at_the_mean_chunk_only():
    score = Retrieval.fit(ROLLOUTS, POLICY)
    shuffled = dataclasses.replace(ROLLOUTS[0], chunks=ROLLOUTS[0].chunks[:, ::-1])
    np.testing.assert_allclose(
        score.score_rollout(shuffled), score.score_rollout(ROLLOUTS[0]), atol=1e-5
    )


def test_a_large_memory_is_thinned_at_random_but_in_order_of_time(monkeypatch):
    monkeypatch.setattr(nearest_neighbours, "MAX_DECISIONS", 20)
    neighbours = NearestNeighbours.fit(ROLLOUTS, 0, "knn")
    assert neighbours.memory.shape == (20, 6)
    assert (np.diff(neighbours.numbers) >= 0).all()
    again = NearestNeighbours.fit(ROLLOUTS[::-1], 0, "knn")
    np.testing.assert_allclose(again.memory, neighbours.memory, rtol=1e-5)
    other = NearestNeighbours.fit(ROLLOUTS, 1, "knn")
    assert not np.array_equal(other.numbers, neighbours.numbers)


def test_phase_knn_has_neighbours_at_times_of_which_nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(nearest_neighbours, "MAX_DECISIONS", 5)
    score = PhaseNeighbourDistance.fit([synthetic_rollout(0, decisions=200)], POLICY)
    assert np.isfinite(score.score_rollout(synthetic_rollout(1, decisions=300))).all()


@pytest.mark.parametrize("most", [1, 10, 1000])
def test_chosen_decisions_are_different_ones(most):
    chosen = choose_decisions(ROLLOUTS, most, seed=0)
    total = sum(len(rollout) for rollout in ROLLOUTS)
    assert len(set(chosen.tolist())) == min(most, total)
    assert 0 <= chosen.min() <= chosen.max() < total
