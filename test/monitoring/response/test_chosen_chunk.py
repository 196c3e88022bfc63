# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The chosen chunk: which of the samples is executed, by each way of choosing."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from testbed.synthetic import POLICY

from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.decision import Decision, Rollout
from failure_monitor.monitoring.response.chosen_chunk import Medoid, chosen_chunk
from failure_monitor.scores.base.reached_positions import ReachedPositions
from failure_monitor.scores.pseudo_count import PseudoCount
from failure_monitor.scores.retrieval import Retrieval

MEDOID = Medoid(ReachedPositions.of(POLICY))


def random_decision(seed: int) -> Decision:
    rng = np.random.default_rng(seed)
    return Decision(
        0,
        rng.normal(size=POLICY.embedding_size).astype(np.float32),
        (10 * rng.normal() + rng.normal(size=POLICY.chunk_shape)).astype(np.float32),
    )


def alone(decision: Decision, chunk: np.ndarray) -> Decision:
    """The decision if this chunk were its only sample."""
    return dataclasses.replace(decision, chunks=chunk[np.newaxis])


@given(st.integers(0, 2**32 - 1))
def test_the_medoid_is_nearest_to_all_others(seed):
    decision = random_decision(seed)
    reached = np.cumsum(decision.chunks[..., :2].astype(np.float64), axis=1).reshape(16, -1)
    sums = np.linalg.norm(reached[:, np.newaxis] - reached, axis=-1).sum(axis=1)
    np.testing.assert_allclose(MEDOID.score_samples(decision), sums, rtol=1e-3, atol=0.02)
    assert sums[chosen_chunk(MEDOID, decision)] <= sums.min() * (1 + 1e-3)


def test_the_medoid_belongs_to_the_majority_not_to_the_middle_between_two_ways():
    left = np.tile([1.0, 0.0, 0.0], (POLICY.horizon, 1))
    chunks = np.stack([-left] * 5 + [0.1 * left] + [left] * 10).astype(np.float32)
    chunks += 0.01 * np.random.default_rng(0).normal(size=chunks.shape).astype(np.float32)
    decision = Decision(0, np.zeros(POLICY.embedding_size, np.float32), chunks)
    assert chosen_chunk(MEDOID, decision) >= 6


def test_of_equal_samples_the_first_is_chosen():
    chunks = np.ones(POLICY.chunk_shape, np.float32)
    assert chosen_chunk(MEDOID, Decision(0, np.zeros(6, np.float32), chunks)) == 0


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [([np.nan, 2.0, 1.0], 2), ([3.0, np.nan, 1.0], 2), ([np.nan] * 3, 0), ([np.inf, 5.0, 6.0], 1)],
)
def test_a_sample_whose_score_is_nan_is_not_chosen(scores, chosen):
    class Fixed:
        name = "fixed"

        def score_samples(self, decision):
            return np.array(scores)

    assert chosen_chunk(Fixed(), random_decision(0)) == chosen


@given(st.integers(0, 2**32 - 1))
def test_what_no_action_name_spans_has_no_say_in_the_medoid(seed):
    decision = random_decision(seed)
    gripped = decision.chunks.copy()
    gripped[..., 2] += np.random.default_rng(seed).normal(size=gripped.shape[:2])
    other = dataclasses.replace(decision, chunks=gripped)
    assert chosen_chunk(MEDOID, other) == chosen_chunk(MEDOID, decision)


@pytest.fixture(scope="module")
def pseudo_count(rollouts: list[Rollout]) -> PseudoCount:
    return fit_score("pseudo_count", rollouts, POLICY, 0)


@pytest.fixture(scope="module")
def retrieval(rollouts: list[Rollout]) -> Retrieval:
    return fit_score("retrieval", rollouts, POLICY, 0)


@pytest.mark.parametrize("name", ["pseudo_count", "retrieval"])
def test_each_sample_has_the_score_it_would_have_alone(name, request, rollouts):
    score = request.getfixturevalue(name)
    decision = list(rollouts[0].decisions())[3]
    expected = [score.update(alone(decision, chunk)) for chunk in decision.chunks]
    np.testing.assert_allclose(score.score_samples(decision), expected, rtol=1e-4)


def test_a_chunk_that_was_seen_is_preferred_to_strange_ones(pseudo_count, rollouts):
    decision = next(rollouts[0].decisions())
    strange = np.random.default_rng(0).uniform(-4, 4, size=POLICY.chunk_shape)
    chunks = strange.astype(np.float32)
    chunks[7] = decision.chunks[0]
    assert chosen_chunk(pseudo_count, dataclasses.replace(decision, chunks=chunks)) == 7


def test_the_sample_nearest_to_what_was_done_then_is_chosen(retrieval, rollouts):
    decision = list(rollouts[0].decisions())[3]
    far = decision.chunks + np.float32(2.0)
    far[11] = decision.chunks.mean(axis=0)
    assert chosen_chunk(retrieval, dataclasses.replace(decision, chunks=far)) == 11
