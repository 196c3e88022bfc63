# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Random network distillation on the executed action chunk (RND-A): how unfamiliar it is.

    score(a) = ‖f(a) − g(a)‖₂,    a = the executed chunk, H·D numbers

with g a fixed random network and f one that was trained to match it on the executed chunks of
the fitting rollouts, as in `random_network_distillation`.
Burda et al., "Exploration by Random Network Distillation", ICLR 2019; on actions Römer et al.
(FIPER), NeurIPS 2025.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.scores.base.network_score import NetworkScore
from failure_monitor.scores.base.standardisation import executed_chunks


class ActionNetworkDistillation(NetworkScore):
    """The distance between the trained and the random network's output."""

    name = "rnd_a"
    meaning = "what it does is unlike successful rollouts"
    trained_by = "random_network_distillation"
    inputs_name = "executed action chunks"

    @staticmethod
    def inputs(rollout: Rollout) -> NDArray[np.float32]:
        """Return the executed chunks, (T, H·D)."""
        return executed_chunks(rollout)
