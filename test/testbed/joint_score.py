# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Scores that tell what the joints did, and the monitor node with them: the figures are their own.

Run as a program, it is the node.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores import registry
from failure_monitor.scores.base.score import InstantScore, ScoreState

QUANTITIES = (
    "elbow/position",
    "wrist/position",
    "elbow/effort",
    "wrist/effort",
    "finger/position",
)


class JointTelltale(InstantScore):
    """Another number for each value of any quantity, be it of a mean or of a newest value."""

    name = "joint_telltale"
    joint_quantities = QUANTITIES

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> JointTelltale:
        return cls()

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        assert rollout.joints is not None
        joints = rollout.joints.select(QUANTITIES)
        assert np.isfinite(joints.states).all()
        means = np.where(np.isnan(joints.means), 100.0, joints.means)
        weights = np.arange(1.0, 1 + len(QUANTITIES))
        return np.asarray(means @ weights + joints.states @ weights**2)

    def state(self) -> ScoreState:
        return ScoreState()

    @classmethod
    def from_state(cls, state: ScoreState) -> JointTelltale:
        return cls()


class CommandTelltale(JointTelltale):
    """Another number for each value of any command as sent; 0 where none was."""

    name = "command_telltale"
    joint_quantities = ("elbow/position",)
    command_names = ("1 of 2", "2 of 2")

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        assert rollout.joints is not None
        sent = rollout.joints.select_commands(self.command_names)
        return np.asarray(np.nan_to_num(sent) @ np.array([1.0, 10.0]))


if __name__ == "__main__":
    from failure_monitor.ros.monitor.node import main

    for score in (JointTelltale, CommandTelltale):
        registry.SCORES[score.name] = score
    main()
