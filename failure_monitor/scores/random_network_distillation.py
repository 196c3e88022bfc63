# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Random network distillation on the observation embedding (RND-OE): how unfamiliar it is.

    score(e) = ‖f(e) − g(e)‖₂

with g a fixed random network and f one that was trained to match it on fitting rollouts: where
an embedding is unlike those, f has not learned what g says. Both networks and the embedding's
standardisation are inside one ONNX graph.
Burda et al., "Exploration by Random Network Distillation", ICLR 2019; for embeddings of a policy
Römer et al. (FIPER), NeurIPS 2025.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, Rollout
from failure_monitor.scores.onnx_network import OnnxNetwork
from failure_monitor.scores.score import Score, ScoreState


class RandomNetworkDistillation(Score):
    """The distance between the trained and the random network's output."""

    name = "rnd_oe"

    def __init__(self, network: OnnxNetwork) -> None:
        """A graph from embeddings (N, E) to distances (N,)."""
        self._network = network

    def update(self, decision: Decision) -> float:
        """The distance for the decision's embedding."""
        return float(self._network(decision.embedding[np.newaxis])[0])

    def over_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """The distance at every decision, (T,)."""
        return self._network(rollout.embeddings).astype(np.float64)

    def state(self) -> ScoreState:
        """The graph."""
        return ScoreState(models={"distance": self._network.model})

    @classmethod
    def from_state(cls, state: ScoreState) -> RandomNetworkDistillation:
        """The score with a stored graph."""
        return cls(OnnxNetwork(state.models["distance"], name=cls.name))
