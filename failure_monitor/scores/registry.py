# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every score by its name."""

from __future__ import annotations

from failure_monitor.errors import UsageError
from failure_monitor.scores.action_chunk_entropy import ActionChunkEntropy
from failure_monitor.scores.action_network_distillation import ActionNetworkDistillation
from failure_monitor.scores.random_network_distillation import RandomNetworkDistillation
from failure_monitor.scores.score import Score

SCORES: dict[str, type[Score]] = {
    score.name: score
    for score in (
        ActionChunkEntropy,
        ActionNetworkDistillation,
        RandomNetworkDistillation,
    )
}


def score_named(name: str) -> type[Score]:
    """The score of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in SCORES:
        raise UsageError(f"there is no score '{name}': the scores are {', '.join(sorted(SCORES))}")
    return SCORES[name]
