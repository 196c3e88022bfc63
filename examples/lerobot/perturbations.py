# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a rollout, and what it does to scene, tracker and arm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

UNDISTURBED = "none"

KINDS = {
    UNDISTURBED: "nothing",
    "object moved": "the puck is pushed 6 to 10 cm aside, out of the gripper if it is there",
    "camera knocked": "the tracker sees puck and goal 4 to 7 cm off",
    "camera occluded": "the tracker's picture of the puck and the goal stands still",
    "gripper stuck": "the fingers stay as they are",
    "slippery object": "nearly no friction, and ten times the mass",
    "unseen start": "the puck starts 8 to 15 cm beside the places of the demonstrations",
    "actuation noise": "the arm executes a drifting velocity beside the commanded one",
}
"""Every kind of perturbation and its description."""

FROM_THE_START = ("unseen start", "actuation noise", "slippery object")
"""Kinds that are there from the first moment; others begin at a random time."""

ONSET = (0.3, 2.0)
"""Seconds between which the others begin."""


@dataclass
class Perturbation:
    """One perturbation of a rollout; all random choices follow from the seed."""

    kind: str
    seed: int

    def __post_init__(self) -> None:
        random = np.random.default_rng([self.seed, 1])
        begins = random.uniform(*ONSET)
        self.onset = 0.0 if self.kind in FROM_THE_START else begins
        angle = random.uniform(0.0, 2.0 * math.pi)
        self._direction = np.array([math.cos(angle), math.sin(angle), 0.0])
        self._size = random.uniform(0.0, 1.0)
        self._side = float(random.choice((-1.0, 1.0)))
        self._random = random
        self._drift = np.zeros(3)
        self._last_seen: Vector | None = None
        self._last_effort = 0.0
        self.has_begun = False

    def start_place(self, drawn: Vector, low: Vector, high: Vector) -> Vector:
        """Return where the puck starts (3,), given where it would be."""
        if self.kind != "unseen start":
            return drawn
        beyond = 0.08 + 0.07 * self._size
        edge = high[0] if self._side > 0 else low[0]
        return np.array([edge + self._side * beyond, drawn[1], drawn[2]])

    def displacement(self) -> Vector:
        """Return by how much the puck is moved when the perturbation begins (3,)."""
        if self.kind != "object moved":
            return np.zeros(3)
        return (0.06 + 0.04 * self._size) * self._direction

    def seen(self, positions: Vector) -> Vector:
        """Return what the tracker reports (2, 3) for the true positions of puck and goal."""
        if self.has_begun and self.kind == "camera knocked":
            return positions + (0.04 + 0.03 * self._size) * self._direction
        if self.has_begun and self.kind == "camera occluded" and self._last_seen is not None:
            return self._last_seen
        self._last_seen = positions
        return positions

    def executed(self, action: Vector) -> Vector:
        """Return what the arm executes (4,) instead of the action."""
        executed = action.copy()
        if self.has_begun and self.kind == "actuation noise":
            fresh = self._random.normal(size=3)
            self._drift = 0.95 * self._drift + math.sqrt(1.0 - 0.95**2) * fresh
            executed[:3] += (0.2 + 0.3 * self._size) * self._drift
        if self.has_begun and self.kind == "gripper stuck":
            executed[3] = self._last_effort
        self._last_effort = float(executed[3])
        return executed
