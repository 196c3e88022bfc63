# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Meta-World's scripted expert, at a pace of its own and with an imprecise eye."""

import warnings

import numpy as np
import numpy.typing as npt
from metaworld.policies import ENV_POLICY_MAP


class Expert:
    """Solves a task from the simulator's state; every expert does it a little differently.

    Where the object seems to be (within `blur` metres per axis) and how fast the arm moves
    (`pace` times full speed) are drawn once, so that demonstrations disagree as people's do.
    """

    pace = (0.3, 0.6)
    blur = 0.006

    def __init__(self, task: str, rng: np.random.Generator) -> None:
        self._policy = ENV_POLICY_MAP[task]()
        self._limit = rng.uniform(*self.pace)
        self._offset = rng.uniform(-self.blur, self.blur, size=3)

    def action(self, observation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Choose an action, shape (4,), for Meta-World's state vector (39,)."""
        seen = observation.copy()
        seen[4:7] += self._offset
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = np.asarray(self._policy.get_action(seen), dtype=np.float64)
        speed = np.abs(wanted[:3]).max()
        wanted[:3] *= self._limit / max(speed, self._limit)
        wanted[3] = np.clip(wanted[3], -1.0, 1.0)
        return wanted
