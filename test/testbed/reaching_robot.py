# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A robot that a policy server leads to a place, a chunk at a time, through a TappedClient.

As a program it serves the policy until it is killed, and prints its port.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.policies.openpi.client import TappedClient
from testbed.policy_server import STATE, PolicyServer

GOAL = np.array([1.0, 0.6])
HORIZON, EXECUTED, DECISIONS = 8, 4, 16
PERIOD = 0.02
FORMAT = PolicyFormat(
    embedding_size=2,
    samples=1,
    horizon=HORIZON,
    action_names=("dx", "dy"),
    action_kind="delta",
    executed_actions=EXECUTED,
)


class ReachingPolicy:
    """Knows nothing of us: answers with one chunk of small steps towards the goal."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        position = np.array(obs[STATE], dtype=float)
        actions = np.empty((HORIZON, 2))
        for action in actions:
            action[:] = 0.06 * (GOAL - position) + self._random.normal(0, 0.001, 2)
            position += action
        return {"actions": actions}


class ReachingRobot:
    """Moves as it is told, until it is held."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.position = self._random.normal(0, 0.05, 2)
        self.is_held = False

    def observe(self) -> dict[str, Any]:
        return {STATE: self.position.astype(np.float32)}

    def execute(self, actions: np.ndarray) -> None:
        for action in actions:
            if not self.is_held:
                self.position = self.position + action + self._random.normal(0, 0.001, 2)


def reach(client: TappedClient, seed: int, *, held_from: int | None = None) -> Rollout:
    """Run a rollout; from this decision on something holds the robot."""
    decisions: list[tuple[Any, float]] = []
    client.on_decision = lambda decision, stamp: decisions.append((decision, stamp))
    robot = ReachingRobot(seed)
    for index in range(DECISIONS):
        robot.is_held = held_from is not None and index >= held_from
        answer = client.infer({**robot.observe(), "stamp": PERIOD * EXECUTED * index})
        robot.execute(answer["actions"][:EXECUTED])
    return Rollout(
        name=f"rollout {seed}",
        stamps=np.array([stamp for _, stamp in decisions]),
        embeddings=np.stack([decision.embedding for decision, _ in decisions]),
        chunks=np.stack([decision.chunks for decision, _ in decisions]),
        success=held_from is None,
        sha256=f"{seed:064x}",
    )


if __name__ == "__main__":
    sys.stdout.write(f"{PolicyServer(ReachingPolicy()).port}\n")
    sys.stdout.flush()
    threading.Event().wait()
