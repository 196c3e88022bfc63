# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What scores must be able to take for granted of a policy and its rollouts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.score import ScoreUndefinedError


def require_differing_samples(
    rollouts: Sequence[Rollout], policy: PolicyFormat, score: str
) -> None:
    """Reject a policy whose samples cannot differ, for the score of that name.

    Raises:
        ScoreUndefinedError: one sample per decision, or samples that never differ.
    """
    if policy.samples < 2:
        raise ScoreUndefinedError(
            f"{score}: the policy publishes one action chunk per decision, but this score "
            "compares several samples: sample more chunks, or leave it out of the rule"
        )
    free = slice(policy.guided_actions, None)
    if all(np.ptp(rollout.chunks[:, :, free], axis=1).max() == 0 for rollout in rollouts):
        raise ScoreUndefinedError(
            f"{score}: all sampled chunks of every decision are the same, so the policy is "
            "deterministic and this score has no meaning: sample with noise, or leave it out of "
            "the rule"
        )


def require_second_decisions(rollouts: Sequence[Rollout], score: str) -> None:
    """Reject rollouts without a step from one decision to the next, for the score of that name.

    Raises:
        ScoreUndefinedError: no rollout has a second decision.
    """
    if max(map(len, rollouts)) < 2:
        raise ScoreUndefinedError(
            f"{score}: every rollout, {rollouts[0].name} among them, has a single decision, but "
            "this score compares a decision with the one before: record longer rollouts, or leave "
            "it out of the rule"
        )
