# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Fitting a score by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.fitting.random_network_distillation import fit_random_network_distillation
from failure_monitor.scores.action_chunk_entropy import ActionChunkEntropy
from failure_monitor.scores.score import Score

Fit = Callable[[Sequence[Rollout], PolicyFormat, int], Score]


def _fit_action_chunk_entropy(
    rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int
) -> Score:
    return ActionChunkEntropy.fit(rollouts, policy)


_FITS: dict[str, Fit] = {
    "rnd_oe": fit_random_network_distillation,
    "ace": _fit_action_chunk_entropy,
}


def fit_score(name: str, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int) -> Score:
    """Fit the score of that name on successful rollouts.

    Raises:
        ScoreUndefinedError: the score means nothing for this policy or these rollouts.
    """
    return _FITS[name](rollouts, policy, seed)
