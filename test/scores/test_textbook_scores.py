# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every score against a second implementation of its formula, plain numpy in double precision."""

import dataclasses

import numpy as np
import pytest
from benchmark_parts.synthetic_task import SyntheticTask
from benchmark_parts.textbook_scores import FORMULAS, textbook, textbook_of_folds

from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.decision import ActionKind
from failure_monitor.scores.registry import DEFAULT_SCORES, JOINT_SCORES, SCORES

TASK = SyntheticTask.of_size(embedding=10, samples=12, horizon=6, actions=3, decisions=15)
FITTING, TEST = TASK.rollouts(range(15)), TASK.rollout(99)
KINDS: tuple[ActionKind, ...] = ("delta", "position")


def test_every_score_has_a_textbook_form():
    assert set(FORMULAS) == set(SCORES) - {"probe"}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_what_its_formula_says(name, kind):
    policy = dataclasses.replace(
        TASK.policy, action_kind=kind, position_names=("action_0", "action_2")
    )
    rollouts = [
        dataclasses.replace(
            rollout,
            positions=rollout.positions[:, [0, 2]],
            tokens=rollout.embeddings.reshape(len(rollout), 2, 5),
        )
        for rollout in (*FITTING, TEST)
    ]
    score = fit_score(name, rollouts[:-1], policy, seed=0)
    decisions = list(rollouts[-1].decisions())
    formula = textbook(score, policy)
    expected = [formula(decisions[: number + 1]) for number in range(len(decisions))]
    # Networks and random features are run in single precision.
    np.testing.assert_allclose(score.score_rollout(rollouts[-1]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*DEFAULT_SCORES, *JOINT_SCORES, "knn", "lag"])
@pytest.mark.parametrize("embedding", [10, 80])
def test_so_is_every_model_of_a_folded_score(name, embedding):
    task = SyntheticTask.of_size(
        embedding=embedding, samples=12, horizon=6, actions=3, decisions=15
    )
    rollouts = task.rollouts(range(15))
    folds = np.arange(15) % 4
    score = SCORES[name].fit_folds(rollouts, folds, task.policy, seed=0)
    # Longer than all that was fitted on.
    test = SyntheticTask(task.policy, 25).rollout(99)
    decisions = list(test.decisions())
    formula = textbook_of_folds(score, task.policy)
    expected = [formula(decisions[: number + 1]) for number in range(len(decisions))]
    np.testing.assert_allclose(score.score_rollout(test), expected, rtol=1e-5, atol=1e-5)
