# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where no scores are named, the rule follows from what policy and robot give, and says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from testbed.synthetic import POLICY, synthetic_rollout, without_embedding

from failure_monitor.calibration.rule_choice import CANDIDATES, Signal, choose_rule
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.joint_motion import JointMotion
from failure_monitor.scores.registry import DEFAULT_SCORES, JOINT_SCORES
from failure_monitor.thresholds.conformal import CalibrationError

KNOWN = replace(POLICY, executed_actions=2)


def rollouts(*, embedding: bool = True, samples: bool = True) -> list[Rollout]:
    made = [synthetic_rollout(seed) for seed in range(6)]
    if not embedding:
        made = [without_embedding(each) for each in made]
    if not samples:
        made = [replace(each, chunks=each.chunks[:, :1]) for each in made]
    return made


def of(policy: PolicyFormat, given: list[Rollout]) -> PolicyFormat:
    first = given[0]
    return replace(policy, embedding_size=first.embeddings.shape[1], samples=first.chunks.shape[1])


def test_what_gives_all_that_scores_need_gets_the_default_scores():
    everything = frozenset(Signal)
    chosen = [each.score for each in CANDIDATES if each.belongs_to(everything)]
    assert sorted(chosen) == sorted((*DEFAULT_SCORES, *JOINT_SCORES))


@pytest.mark.parametrize(
    ("embedding", "samples", "policy", "scores", "lacking"),
    [
        (
            True,
            True,
            KNOWN,
            ("command_effect", "dispersion_profile", "one_step", "phase_knn", "chunk_lag"),
            set(),
        ),
        (
            True,
            False,
            POLICY,
            ("one_step", "phase_knn", "chunk_lag"),
            {Signal.SAMPLES, Signal.EXECUTED},
        ),
        (
            False,
            True,
            KNOWN,
            ("dispersion_profile", "chunk_lag", "stac"),
            {Signal.EMBEDDING},
        ),
        (
            False,
            False,
            KNOWN,
            ("chunk_lag", "stac_single"),
            {Signal.EMBEDDING, Signal.SAMPLES},
        ),
        (
            False,
            False,
            POLICY,
            ("chunk_lag",),
            {Signal.EMBEDDING, Signal.SAMPLES, Signal.EXECUTED},
        ),
    ],
)
def test_the_rule_follows_from_what_is_given(embedding, samples, policy, scores, lacking):
    given = rollouts(embedding=embedding, samples=samples)
    choice = choose_rule(given, of(policy, given))
    assert choice.scores == scores
    assert choice.why.startswith(f"the rule is of {', '.join(scores)}: ")
    told = {signal for signal in Signal if signal.without in choice.lacking}
    # Joints and tokens are never given here.
    assert told - {Signal.JOINTS, Signal.TOKENS} == lacking
    assert choice.reasons == (choice.why, *choice.left_out, *choice.lacking)


def test_samples_that_are_all_the_same_are_one_chunk():
    given = rollouts(embedding=False)
    for rollout in given:
        rollout.chunks[:] = rollout.chunks[:, :1]
    choice = choose_rule(given, of(KNOWN, given))
    assert choice.scores == ("chunk_lag", "stac_single")
    assert Signal.SAMPLES.without in choice.lacking


def test_a_score_that_means_nothing_is_left_out_with_its_reason():
    given = rollouts()
    for rollout in given:
        rollout.embeddings[:] = 1.0
    choice = choose_rule(given, of(KNOWN, given))
    assert choice.scores == ("dispersion_profile", "chunk_lag")
    assert [reason.split(":")[0] for reason in choice.left_out] == [
        "without the score command_effect",
        "without the score one_step",
        "without the score phase_knn",
    ]
    assert not any("phase_knn: phase_knn" in reason for reason in choice.left_out)


def test_rollouts_that_lack_what_others_give_are_named():
    given = rollouts()
    zeros = np.zeros((len(given[0]), 1))
    given[0] = replace(given[0], joints=JointMotion(("elbow/position",), zeros, zeros))
    choice = choose_rule(given, of(KNOWN, given))
    (joints,) = (text for text in choice.lacking if text.startswith(Signal.JOINTS.without))
    count = f"{len(given) - 1} of {len(given)} rollouts"
    assert f"({count} lack them: {given[1].name}, " in joints
    assert given[0].name not in joints


def test_a_policy_that_never_plans_anything_new_has_no_rule():
    given = rollouts(embedding=False)
    for rollout in given:
        rollout.chunks[:] = 1.0
    with pytest.raises(CalibrationError, match="none of the default scores can be used"):
        choose_rule(given, of(POLICY, given))
