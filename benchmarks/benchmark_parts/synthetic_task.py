# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An imaginary task: independent successful rollouts of any size, as many as are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.joint_motion import QUANTITY_KINDS, JointMotion, quantity_names

Array: TypeAlias = NDArray[np.float64]

TASK_SEED = 0
GOAL_SIZE = 3
WAVES = np.arange(1, 7)
DECISION_PERIOD = 0.1
"""Seconds."""


@dataclass(frozen=True)
class SyntheticTask:
    """A robot follows a path to a goal that differs from rollout to rollout.

    Rollouts also differ in length, in their light (a constant offset of the embeddings), in how
    well the robot follows, and in how sure the policy is; halfway the policy has two ways to go
    on.

    Attributes:
        policy: sizes; its actions are taken as deltas of positions, and all as positions.
        decisions: the median length of a rollout.
    """

    policy: PolicyFormat
    decisions: int

    @classmethod
    def of_size(
        cls, *, embedding: int, samples: int, horizon: int, actions: int, decisions: int
    ) -> SyntheticTask:
        """Return a task of which half of every chunk is executed."""
        policy = PolicyFormat(
            embedding_size=embedding,
            samples=samples,
            horizon=horizon,
            action_names=tuple(f"action_{index}" for index in range(actions)),
            action_kind="delta",
            executed_actions=horizon // 2,
        )
        return cls(policy, decisions)

    def rollouts(self, seeds: Iterable[int]) -> list[Rollout]:
        """Return a rollout for each seed."""
        return [self.rollout(seed) for seed in seeds]

    def rollout(self, seed: int) -> Rollout:
        """Return the rollout of that seed, successful."""
        random = np.random.default_rng([seed, 1])
        goal = random.normal(size=GOAL_SIZE)
        T = max(4, round(self.decisions * random.lognormal(0, 0.12)))
        phase = (np.arange(T) + random.uniform()) / T
        chunks = self._chunks(random, goal, phase)
        executed = chunks[:, 0, : self.policy.executed_actions].sum(axis=1)
        moves = random.normal(1, 0.03) * executed + 0.05 * random.normal(size=executed.shape)
        positions = np.cumsum(moves, axis=0) - moves
        embeddings = self._embeddings(random, goal, phase, positions)
        return Rollout(
            name=f"rollout {seed}",
            stamps=DECISION_PERIOD * np.arange(T),
            embeddings=embeddings.astype(np.float32),
            chunks=chunks.astype(np.float32),
            success=True,
            sha256=f"{seed:064x}",
            positions=positions.astype(np.float32),
            joints=self._joints(np.random.default_rng([seed, 2]), positions, moves),
        )

    def _chunks(self, random: np.random.Generator, goal: Array, phase: Array) -> Array:
        """Return the action chunks, (T, B, H, D)."""
        T, (B, _, D) = len(phase), self.policy.chunk_shape
        task = np.random.default_rng(TASK_SEED)
        waves, starts = task.uniform(1, 2.5, D), task.uniform(size=D)
        bend = 0.4 * goal @ task.normal(size=(GOAL_SIZE, D))
        velocity = np.sin(2 * np.pi * (starts + waves * phase[:, np.newaxis])) + bend
        torn = np.exp(-(((phase - 0.5) / 0.06) ** 2))
        doubt = (0.05 + 0.1 * torn) * random.lognormal(0, 0.2, T)
        noise = random.normal(size=(T, B, 1, D))
        noise = noise + 0.3 * random.normal(size=(T, *self.policy.chunk_shape))
        chunks = velocity[:, np.newaxis, np.newaxis] + doubt[:, None, None, None] * noise
        ways = random.choice([-1.0, 1.0], size=(T, B))
        chunks[..., 0] += (torn[:, np.newaxis] * ways)[..., np.newaxis]
        return chunks

    def _joints(self, random: np.random.Generator, positions: Array, moves: Array) -> JointMotion:
        """Return a joint for each action, the last a gripper's, with all that a robot measures."""
        joints = [*(f"joint_{index}" for index in range(len(moves.T) - 1)), "gripper"]
        moved = np.concatenate([np.zeros_like(moves[:1]), moves[:-1]])
        states = np.concatenate([positions, moves, 3 * moved], axis=1)
        means = np.concatenate([positions - moved / 2, moved, 3 * moved], axis=1)
        means[0] = np.nan
        names = (quantity_names(joints, kind) for kind in QUANTITY_KINDS)
        return JointMotion(
            tuple(name for of_kind in names for name in of_kind),
            states + 0.02 * random.normal(size=states.shape),
            means + 0.02 * random.normal(size=means.shape),
        )

    def _embeddings(
        self, random: np.random.Generator, goal: Array, phase: Array, positions: Array
    ) -> Array:
        """Return the embeddings, (T, E)."""
        T, E = len(phase), self.policy.embedding_size
        scene = np.concatenate(
            [
                np.sin(np.pi * phase[:, np.newaxis] * WAVES),
                np.tile(goal, (T, 1)),
                positions / (0.1 * self.decisions * self.policy.horizon),
            ],
            axis=1,
        )
        task = np.random.default_rng(TASK_SEED)
        seen = np.tanh(scene @ task.normal(size=(scene.shape[1], E)) / 2)
        light = 0.05 * random.normal(size=E)
        return seen + light + 0.05 * random.standard_t(5, size=(T, E))
