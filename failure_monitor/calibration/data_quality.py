# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether like situations get like actions in a set of rollouts, and lead to like ones.

After action divergence and transition diversity in Belkhale, Cui and Sadigh, "Data Quality in
Imitation Learning", NeurIPS 2023, by nearest neighbours: how far apart things are that follow
like situations in different rollouts, as a fraction of how far apart they are anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.base.standardisation import Standardisation, executed_chunks

NEIGHBOURS = 8
MAX_DECISIONS = 1000
"""Number of decisions that are compared; of more, a random part of this size."""


@dataclass(frozen=True)
class DataQuality:
    """The quality of a set of rollouts; None where it is unknown.

    Attributes:
        action_divergence: of executed chunks. 0: the situation determines what is done; 1: it
            does not, so a policy that imitates these rollouts has nothing to learn.
        transition_diversity: of the change of the embedding from one decision to the next. 0: the
            situation determines what comes of it; 1: it does not.
    """

    action_divergence: float | None
    transition_diversity: float | None

    @classmethod
    def of(cls, rollouts: Sequence[Rollout], seed: int = 0) -> DataQuality:
        """Measure a set of rollouts, of which each has decisions of the same format."""
        changing = [rollout for rollout in rollouts if len(rollout) > 1]
        return cls(
            action_divergence=_divergence(
                rollouts,
                [rollout.embeddings for rollout in rollouts],
                [executed_chunks(rollout) for rollout in rollouts],
                seed,
            ),
            transition_diversity=_divergence(
                changing,
                [rollout.embeddings[:-1] for rollout in changing],
                [np.diff(rollout.embeddings, axis=0) for rollout in changing],
                seed,
            ),
        )


def _divergence(
    rollouts: Sequence[Rollout],
    situations: Sequence[NDArray[np.float32]],
    followers: Sequence[NDArray[np.float32]],
    seed: int,
) -> float | None:
    """Return the spread of what follows like situations, over the spread of all."""
    if len(rollouts) < 2:
        return None
    owners = np.repeat(np.arange(len(rollouts)), [len(part) for part in situations])
    try:
        places = _standardised(situations, "the embeddings")
        after = _standardised(followers, "what follows")
    except ScoreUndefinedError:
        return None
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(owners))[:MAX_DECISIONS]
    distances = cdist(places[chosen], places)
    # Neighbours within a rollout are near because little time went by.
    distances[owners[chosen][:, np.newaxis] == owners] = np.inf
    count = min(NEIGHBOURS, int(np.isfinite(distances).sum(axis=1).min()))
    nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
    apart = np.linalg.norm(after[nearest] - after[chosen][:, np.newaxis], axis=-1)
    anywhere = cdist(after[chosen], after[rng.permutation(len(owners))[:MAX_DECISIONS]])
    return float(apart.mean() / anywhere.mean())


def _standardised(parts: Sequence[NDArray[np.float32]], what: str) -> NDArray[np.float64]:
    features = np.concatenate(parts)
    return Standardisation.fit(features, what)(features)
