# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of an imaginary policy and of the robot that it moves, for scores that need both."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.joint_motion import JointMotion
from testbed.synthetic import POLICY, synthetic_rollout

EXECUTED = 2
MOVING = dataclasses.replace(POLICY, executed_actions=EXECUTED)


def moving_rollout(seed: int, **changes: Any) -> Rollout:
    """Return a rollout of a robot that does nearly what it is told, with a network's tokens."""
    rollout = synthetic_rollout(seed, **changes)
    commanded = rollout.chunks[:, 0, :EXECUTED, :2].sum(axis=1)
    noise = 0.05 * np.random.default_rng(seed).normal(size=commanded.shape)
    reached = np.cumsum(0.9 * commanded + noise, axis=0)
    positions = np.concatenate([np.zeros((1, 2)), reached[:-1]])
    tokens = np.random.default_rng(seed).normal(size=(len(rollout), 3, 4))
    tokens += rollout.embeddings[:, np.newaxis, :4]
    return dataclasses.replace(
        rollout,
        positions=positions.astype(np.float32),
        joints=_joints(rollout, positions, seed),
        tokens=tokens.astype(np.float32),
    )


JOINTS = ("x/position", "y/position", "x/effort", "y/effort", "gripper/position")


def _joints(rollout: Rollout, positions: NDArray[np.float64], seed: int) -> JointMotion:
    """Return two joints that carry the robot with efforts like its steps, and a gripper."""
    random = np.random.default_rng([seed, 1])
    steps = np.diff(positions, axis=0, prepend=positions[:1])
    gripper = np.cumsum(rollout.chunks[:, 0, :EXECUTED, 2].mean(axis=1, keepdims=True), axis=0)
    states = np.concatenate([positions, 2 * steps, np.roll(gripper, 1, axis=0)], axis=1)
    states[0, 4] = 0
    states += 0.01 * random.normal(size=states.shape)
    means = states - 0.3 * np.diff(states, axis=0, prepend=states[:1])
    means[0] = np.nan
    return JointMotion(JOINTS, states, means)
