# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What logpZO and the pseudo-count must learn."""

import dataclasses

import numpy as np
import torch
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.calibration.fitting import logpzo, pseudo_count
from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.scores.logpzo import LogPZO
from failure_monitor.scores.pseudo_count import PseudoCount

ROLLOUTS = [synthetic_rollout(seed, decisions=40) for seed in range(10)]


def test_logpzo_ends_with_the_weights_that_were_best(monkeypatch):
    # The rate is so large that training diverges: only a copy of the best weights is of use.
    features = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(logpzo, "LEARNING_RATE", 3.0)
    diverged = logpzo.train(features, seed=0)
    with torch.no_grad():
        assert float(diverged(features).mean()) < 100


def test_logpzo_of_the_zero_field_is_the_squared_norm():
    field = torch.nn.Linear(4, 3)
    torch.nn.init.zeros_(field.weight)
    torch.nn.init.zeros_(field.bias)
    points = torch.tensor([[1.0, 2.0, 2.0], [0.0, 3.0, 4.0]])
    assert logpzo.Likelihood(field)(points).tolist() == [9.0, 25.0]


def test_logpzo_is_given_the_embedding_and_nothing_else():
    score = fit_score("logpzo", ROLLOUTS, POLICY, 0)
    other = dataclasses.replace(ROLLOUTS[0], chunks=ROLLOUTS[0].chunks + 9)
    np.testing.assert_array_equal(score.score_rollout(other), score.score_rollout(ROLLOUTS[0]))
    assert LogPZO.inputs(ROLLOUTS[0]).shape == (40, POLICY.embedding_size)


def test_the_pseudo_count_is_smaller_for_what_was_seen_more_often():
    # 300 decisions of one kind, 3 of another.
    generator = torch.Generator().manual_seed(0)
    often = torch.randn(300, 4, generator=generator) * 0.1 + 1
    rarely = torch.randn(3, 4, generator=generator) * 0.1 - 1
    network = pseudo_count.train(torch.cat([often, rarely]), seed=0)
    with torch.no_grad():
        assert float(network(often).median()) < 0.5 * float(network(rarely).median())


def test_the_pseudo_count_ranks_candidate_chunks():
    score = fit_score("pseudo_count", ROLLOUTS[1:], POLICY, 0)
    decision = next(ROLLOUTS[0].decisions())
    unfamiliar = dataclasses.replace(decision, chunks=decision.chunks - 3)
    assert score.update(decision) < score.update(unfamiliar)
    # Only the executed chunk counts.
    chunks = decision.chunks.copy()
    chunks[1:] = 9
    assert score.update(dataclasses.replace(decision, chunks=chunks)) == score.update(decision)
    assert PseudoCount.inputs(ROLLOUTS[0]).shape == (40, 6 + 5 * 3)
