# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A score that is the output of a network, which runs in ONNX Runtime."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.policy_models.onnx_network import OnnxNetwork
from failure_monitor.scores.base.score import InstantScore, ScoreState


class NetworkScore(InstantScore):
    """A graph from inputs (N, F) to scores (N,); it standardises its inputs itself.

    Attributes:
        trained_by: the module of `calibration.fitting` whose `train` makes the network.
        inputs_name: what errors call the inputs.
    """

    trained_by: ClassVar[str]
    inputs_name: ClassVar[str]

    def __init__(self, network: OnnxNetwork) -> None:
        """Create the score that a network computes."""
        self._network = network

    @staticmethod
    @abstractmethod
    def inputs(rollout: Rollout) -> NDArray[np.float32]:
        """Return the network's inputs at every decision, (T, F)."""

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the network's output at every decision, (T,)."""
        # One at a time: a batch is summed up in another order, and `update` would differ.
        outputs = [self._network(row[np.newaxis])[0] for row in self.inputs(rollout)]
        return np.array(outputs, dtype=np.float64)

    def state(self) -> ScoreState:
        """Return the graph."""
        return ScoreState(models={"network": self._network.model})

    @classmethod
    def from_state(cls, state: ScoreState) -> NetworkScore:
        """Restore the score with a stored graph."""
        return cls(OnnxNetwork(state.models["network"], name=cls.name))
