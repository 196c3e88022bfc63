# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of an imaginary policy and of the robot that it moves, for scores that need both."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from failure_monitor.decision import Rollout
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
        rollout, positions=positions.astype(np.float32), tokens=tokens.astype(np.float32)
    )
