# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Distance to the nearest fitting embeddings (kNN): how unfamiliar the observation is.

    score(e) = mean of ‖e − e_i‖₂ over the k = 10 nearest embeddings e_i of the fitting rollouts

of standardised embeddings.
Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022, who take the
k-th distance instead of the mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, Rollout
from failure_monitor.scores.base.nearest_neighbours import NeighbourScore

NEIGHBOURS = 10


class NearestNeighbourDistance(NeighbourScore):
    """The mean distance to the nearest fitting embeddings."""

    name = "knn"
    meaning = "what it sees is unlike successful rollouts"

    def update_all(self, decision: Decision) -> NDArray[np.float64]:
        """Return the mean distance for every model, (F,)."""
        query = self._neighbours.features.of_embedding(decision)
        nearest = self._neighbours.nearest(query, NEIGHBOURS)
        return self._neighbours.mean_distances(query, nearest)

    def score_all(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the mean distance at every decision for every model, (T, F)."""
        return np.stack([self.update_all(decision) for decision in rollout.decisions()])
