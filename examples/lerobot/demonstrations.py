# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of Meta-World's scripted expert, each a little different, as people's are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from metaworld.policies import ENV_POLICY_MAP
from numpy.typing import NDArray

from examples.lerobot.environment import TASK, Observation, PickPlace

FIRST_SEED = 1_000_000
"""Demonstrations use the seeds from here on, rollouts smaller ones."""

AFTER = 8
"""Actions that the expert goes on after its success."""


@dataclass(frozen=True)
class Demonstration:
    """One successful demonstration: T observations, and the actions (T, 4) that were meant."""

    observations: list[Observation]
    actions: NDArray[np.float32]


class Expert:
    """Meta-World's expert at a pace and with an inaccuracy of its own."""

    def __init__(self, random: np.random.Generator) -> None:
        self._policy = ENV_POLICY_MAP[TASK]()
        self._pace = random.uniform(0.15, 0.35)
        self._offset = random.uniform(-0.004, 0.004, size=3)

    def action(self, state: NDArray[np.float64]) -> NDArray[np.float64]:
        """Choose an action (4,) for Meta-World's state vector (39,)."""
        seen = state.copy()
        seen[4:7] += self._offset
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = np.asarray(self._policy.get_action(seen), dtype=np.float64)
        speed = np.abs(wanted[:3]).max()
        wanted[:3] *= self._pace / max(speed, self._pace)
        return np.clip(wanted, -1.0, 1.0)


def demonstrate(count: int) -> list[Demonstration]:
    """Record that many successful demonstrations."""
    environment = PickPlace()
    recorded: list[Demonstration] = []
    seed = FIRST_SEED
    while len(recorded) < count:
        demonstration = _demonstrate(environment, seed)
        if demonstration is not None:
            recorded.append(demonstration)
        seed += 1
    return recorded


def _demonstrate(environment: PickPlace, seed: int) -> Demonstration | None:
    """Let the expert try it while the arm is pushed about, so that it shows how to recover."""
    random = np.random.default_rng([seed, 2])
    expert = Expert(random)
    scale, noise = random.uniform(0.0, 0.15), np.zeros(3)
    observation = environment.reset(seed)
    observations, actions, left = [], [], AFTER
    while left and not (environment.is_over and not environment.success):
        observations.append(observation)
        actions.append(expert.action(environment.full_state))
        noise = 0.6 * noise + 0.8 * random.normal(scale=scale, size=3)
        observation = environment.step(actions[-1] + np.append(noise, 0.0))
        left -= environment.success
    if not environment.success:
        return None
    return Demonstration(observations, np.array(actions, dtype=np.float32))
