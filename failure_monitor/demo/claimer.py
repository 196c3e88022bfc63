# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Who claims success: sees only what a policy's caller sees, never the simulator's truth.

It knows where the hand is, by the arm's joints, and what was commanded. It claims success once the
hand is where a success usually leaves it, or once it pushes without getting any further.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.demo.tasks import CONTROL_PERIOD, Task

PUSHING_STEPS = round(0.25 / CONTROL_PERIOD)
"""Control steps for which the hand must have pushed."""
LEAST_COMMANDED = 0.02
"""Metres that it was told to move in that time, at least."""
MOST_MOVED = 0.006
"""Metres that it moved all the same, at most."""
APPROACH = 0.02
"""Metres before its end at which the hand is on its way: it may start beyond it."""
EARLY = 0.06
"""Metres before its end at which it takes the hand to have arrived, where it claims early."""
METRES_PER_STEP = 0.01
"""What an action of 1 tells the hand to move in a control step."""


class Claimer:
    """Follows a rollout and claims success."""

    def __init__(self, task: Task, perturbation: Perturbation = UNDISTURBED) -> None:
        """Before the rollout's first control step; one kind of perturbation is its own mistake."""
        early = EARLY * perturbation.strength if perturbation.kind == "early" else 0.0
        self._way = np.array(task.way)
        self._end = task.hand_end - early
        self._hands: deque[npt.NDArray[np.float64]] = deque(maxlen=PUSHING_STEPS + 1)
        self._commanded: deque[npt.NDArray[np.float64]] = deque(maxlen=PUSHING_STEPS)
        self._has_approached = self._has_moved = False

    def claims(self, hand: npt.NDArray[np.float64], action: npt.ArrayLike) -> bool:
        """Return whether success is claimed after a control step.

        Args:
            hand: the measured position of the hand (3,), metres in the world.
            action: what was commanded (4,).
        """
        self._hands.append(np.array(hand))
        self._commanded.append(METRES_PER_STEP * np.asarray(action, dtype=np.float64)[:3])
        return self._has_arrived(hand) or self._pushes_in_vain()

    def _has_arrived(self, hand: npt.NDArray[np.float64]) -> bool:
        gone = float(hand @ self._way)
        self._has_approached |= gone <= self._end - APPROACH
        return self._has_approached and gone >= self._end

    def _pushes_in_vain(self) -> bool:
        if len(self._hands) <= PUSHING_STEPS:
            return False
        moved = float(np.linalg.norm(self._hands[-1] - self._hands[0]))
        commanded = float(np.linalg.norm(sum(self._commanded)))
        self._has_moved |= moved > LEAST_COMMANDED
        return self._has_moved and commanded >= LEAST_COMMANDED and moved <= MOST_MOVED
