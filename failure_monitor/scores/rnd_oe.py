# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Random network distillation on the observation embedding (RND-OE): how unfamiliar it is.

    score(e) = ‖f(e) − g(e)‖₂

with g a fixed random network and f one that was trained to match it on fitting rollouts: where
an embedding is unlike those, f has not learned the output of g. Both networks and the embedding's
standardisation are inside one ONNX graph.
Burda et al., "Exploration by Random Network Distillation", ICLR 2019; for embeddings of a policy
Römer et al. (FIPER), NeurIPS 2025.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.network_score import NetworkScore


class RandomNetworkDistillation(NetworkScore):
    """The distance between the trained and the random network's output."""

    name = "rnd_oe"
    meaning = "what it sees is unlike successful rollouts"
    trained_by = "random_network_distillation"
    inputs_name = "embeddings"

    @staticmethod
    def inputs(rollout: Rollout) -> NDArray[np.float32]:
        """Return the embeddings, (T, E)."""
        return rollout.embeddings
