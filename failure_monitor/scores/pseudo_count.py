# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Pseudo-count of observation and executed chunk: how often something like it was seen.

A network f regresses a random vector of ±1 that was drawn for every fitting decision. Where n
decisions look alike it can only learn the mean of their n vectors, so that

    ‖f(x)‖² / d ≈ 1/n,    score(x) = ‖f(x)‖₂,    x = [e, executed chunk]

with d = 20 the length of the vectors. A fixed random network is added to f, so that it is large
where nothing was learned. Of several candidate chunks the one with the smallest score is the most
familiar. f and the standardisation of x are inside one ONNX graph.
Lobel et al., "Flipping Coins to Estimate Pseudocounts for Exploration in Reinforcement Learning",
ICML 2023; for action chunks "Steering Vision-Language-Action Models as Anti-Exploration" (TACO),
2025.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, Rollout
from failure_monitor.scores.base.network_score import NetworkScore
from failure_monitor.scores.base.standardisation import executed_chunks


class PseudoCount(NetworkScore):
    """The norm of the coin-flipping network's output."""

    name = "pseudo_count"
    meaning = "what it sees and does is unlike successful rollouts"
    trained_by = "pseudo_count"
    inputs_name = "embeddings and executed action chunks"

    @staticmethod
    def inputs(rollout: Rollout) -> NDArray[np.float32]:
        """Return the embeddings and the executed chunks, (T, E + H·D)."""
        return np.concatenate([rollout.embeddings, executed_chunks(rollout)], axis=1)

    def score_samples(self, decision: Decision) -> NDArray[np.float32]:
        """Return the score that each sampled chunk would have if it were executed, (B,)."""
        chunks = decision.chunks.reshape(len(decision.chunks), -1)
        embeddings = np.broadcast_to(decision.embedding, (len(chunks), len(decision.embedding)))
        return self._network(np.concatenate([embeddings, chunks], axis=1))
