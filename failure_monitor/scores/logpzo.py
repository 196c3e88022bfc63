# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Likelihood of the embedding's image under a flow to noise (logpZO): how unfamiliar it is.

A velocity field v(x, t) is trained to carry embeddings x₀ to Gaussian noise x₁ along straight
lines, x_t = (1 − t) x₀ + t x₁ with target x₁ − x₀. One step of it from t = 0 to 1,

    z = e + v(e, 0),    score(e) = ‖z‖²

is the squared distance from the noise's centre, the negative log likelihood of z up to a constant.
The field and the standardisation of e are inside one ONNX graph.
Xu et al., "Can We Detect Failures Without Failure Data? Uncertainty-Aware Runtime Failure
Detection for Imitation Learning Policies" (FAIL-Detect), RSS 2025.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.network_score import NetworkScore


class LogPZO(NetworkScore):
    """The squared norm of the embedding's image in the noise's space."""

    name = "logpzo"
    meaning = "what it sees is unlike successful rollouts"
    trained_by = "logpzo"
    inputs_name = "embeddings"

    @staticmethod
    def inputs(rollout: Rollout) -> NDArray[np.float32]:
        """Return the embeddings, (T, E)."""
        return rollout.embeddings
