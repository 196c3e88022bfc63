# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Meta-World's pick-place task in MuJoCo, with observations named as LeRobot names them.

The arm is to take a puck from the table and to carry it to a point in the air or on the table.
The policy sees the hand, the fingers, and what a tracker at the hand reports of puck and goal.
There are no pictures: with them it would take a graphics card to train a policy in minutes.
"""

from __future__ import annotations

import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from numpy.typing import NDArray

from examples.lerobot.perturbations import UNDISTURBED, Perturbation, Vector

TASK = "pick-place-v3"
ACTION_NAMES = ("dx", "dy", "dz", "gripper")
"""Velocity of the hand's set-point, 0.01 m per simulation step at 1, and the fingers' effort."""

POSITION_NAMES = ("dx", "dy", "dz")

STATE = "observation.state"
ENVIRONMENT = "observation.environment_state"
SIZES = {STATE: 4, ENVIRONMENT: 6}

SIMULATION_STEPS = 4
CONTROL_PERIOD = 0.0125 * SIMULATION_STEPS
"""Seconds from one action to the next: 20 Hz."""

TIME_LIMIT = 6.0
"""Seconds after which a rollout has failed."""

HOLD = 2
"""Actions in a row with the puck at the goal that make a success."""

Observation = dict[str, NDArray[np.float32]]


class PickPlace:
    """One simulated arm, stepped by hand."""

    def __init__(self) -> None:
        self._env = ALL_V3_ENVIRONMENTS[TASK]()
        self._env.max_path_length = np.iinfo(np.int64).max
        self._env._set_task_called = True
        self._env._freeze_rand_vec = True
        self._friction = self._env.model.geom_friction.copy()
        self._mass = self._env.model.body_mass.copy()
        self.reset(0)

    def reset(self, seed: int, kind: str = UNDISTURBED) -> Observation:
        """Start over; puck, goal and every random choice follow from the seed."""
        self.perturbation = Perturbation(kind, seed)
        self._env.model.geom_friction[:] = self._friction
        self._env.model.body_mass[:] = self._mass
        puck, goal = self._places(seed)
        self._env._last_rand_vec = np.concatenate([puck, goal])
        self._goal = goal
        self._raw, _ = self._env.reset()
        self._steps = self._held = 0
        self._begin_when_due()
        return self.observation()

    @property
    def time(self) -> float:
        """Seconds since the reset."""
        return self._steps * CONTROL_PERIOD

    @property
    def success(self) -> bool:
        """Whether the puck is at its goal and stays there."""
        return self._held >= HOLD

    @property
    def is_over(self) -> bool:
        """Whether the rollout has ended, one way or the other."""
        return self.success or self._steps >= round(TIME_LIMIT / CONTROL_PERIOD)

    @property
    def full_state(self) -> Vector:
        """Meta-World's state vector (39,), which its scripted expert reads, with the goal."""
        return np.concatenate([self._raw[:36], self._goal])

    def observation(self) -> Observation:
        """Return what the policy sees now."""
        seen = self.perturbation.seen(np.stack([self._raw[4:7], self._goal]))
        return {
            STATE: self._raw[:4].astype(np.float32),
            ENVIRONMENT: (seen - self._raw[:3]).ravel().astype(np.float32),
        }

    def step(self, action: NDArray[np.floating]) -> Observation:
        """Execute an action (4,) for one control period."""
        executed = self.perturbation.executed(np.asarray(action, dtype=np.float64))
        for _ in range(SIMULATION_STEPS):
            self._raw, *_, info = self._env.step(np.clip(executed, -1.0, 1.0))
        self._held = self._held + 1 if info["success"] else 0
        self._steps += 1
        self._begin_when_due()
        return self.observation()

    def _places(self, seed: int) -> tuple[Vector, Vector]:
        """Draw puck and goal, as far apart as Meta-World has them."""
        space = self._env._random_reset_space
        random = np.random.default_rng([seed, 0])
        while True:
            drawn = random.uniform(space.low, space.high)
            puck = self.perturbation.start_place(drawn[:3], space.low[:3], space.high[:3])
            if np.linalg.norm(puck[:2] - drawn[3:5]) >= 0.15:
                return puck, drawn[3:]

    def _begin_when_due(self) -> None:
        perturbation = self.perturbation
        if perturbation.has_begun or self.time < perturbation.onset:
            return
        perturbation.has_begun = True
        if perturbation.kind == "slippery object":
            self._make_slippery()
        elif perturbation.kind == "object moved":
            self._move_puck(perturbation.displacement())

    def _make_slippery(self) -> None:
        puck = self._env.model.body("obj").id
        self._env.model.body_mass[puck] *= 10.0
        self._env.model.geom_friction[:] *= 0.05

    def _move_puck(self, offset: Vector) -> None:
        place = self._raw[4:7] + offset
        self._env._set_obj_xyz(np.array([place[0], place[1], 0.02]))
        self._raw[4:7] = self._env._get_pos_objects()
