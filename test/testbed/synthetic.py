# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Small rollouts of an imaginary policy, made by a formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.policy_description import PolicyDescription

POLICY = PolicyFormat(
    embedding_size=6,
    samples=16,
    horizon=5,
    action_names=("dx", "dy", "gripper"),
    action_kind="delta",
    position_names=("dx", "dy"),
)

STATED = PolicyDescription(
    policy="act",
    checkpoint="a" * 64,
    checkpoint_name="outputs/act",
    action_names=POLICY.action_names,
    action_kind="delta",
    position_names=("dx", "dy"),
    unit="robot",
    control_period=0.05,
    execution="queue",
    executed_actions=2,
    guided_actions=0,
    dispersion_of="noise",
)
"""What the policy of these rollouts states about itself."""


def synthetic_rollout(seed: int, *, decisions: int = 12, success: bool | None = True) -> Rollout:
    """Return embeddings that drift along a fixed curve, chunks that scatter a little around it."""
    rng = np.random.default_rng(seed)
    phase = np.linspace(0, 1, decisions)[:, np.newaxis]
    curve = np.sin(phase * np.arange(1, POLICY.embedding_size + 1))
    embeddings = curve + 0.1 * rng.normal(size=curve.shape)
    motion = np.cos(3 * phase)[:, :, np.newaxis, np.newaxis]
    chunks = motion + 0.03 * rng.normal(size=(decisions, *POLICY.chunk_shape))
    return Rollout(
        name=f"rollout {seed}",
        stamps=0.1 * np.arange(decisions),
        embeddings=embeddings.astype(np.float32),
        chunks=chunks.astype(np.float32),
        success=success,
        sha256=f"{seed:064x}",
    )


def without_embedding(rollout: Rollout) -> Rollout:
    """Return the rollout as of a policy that gives no embedding."""
    return replace(rollout, embeddings=np.empty((len(rollout), 0), np.float32))
