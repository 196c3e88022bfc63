# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the arm executes between commands: the last one while it is fresh, then nothing."""

import numpy as np
import numpy.typing as npt

from failure_monitor.demo.tasks import ACTION_NAMES, FRAME_STEPS
from failure_monitor.errors import FailureMonitorError

PATIENCE = 2
"""Control steps by which one is put off at most, until the command that is awaited comes."""

MAX_UNANSWERED = 4
"""Frames in a row without a command, after which none is awaited: the gate is closed."""


class CommandHold:
    """Holds a command for one camera period; afterwards the arm stands and the grip stays.

    The first control step after a frame waits for the frame's command, so that a slow machine
    slows the simulation and changes nothing else.
    """

    def __init__(self) -> None:
        self._action = np.zeros(len(ACTION_NAMES))
        self._remaining = 0
        self._frames = self._unanswered = self._patience = 0

    def receive(self, command: npt.ArrayLike) -> None:
        """Take a new command (4,): dx, dy, dz, gripper.

        Raises:
            FailureMonitorError: it has another size or is not finite; the last one stays.
        """
        action = np.asarray(command, dtype=np.float64)
        if action.shape != (len(ACTION_NAMES),) or not np.isfinite(action).all():
            raise FailureMonitorError(
                f"the command {action.tolist()} is rejected: expected "
                f"{len(ACTION_NAMES)} finite numbers {', '.join(ACTION_NAMES)}"
            )
        self._action = action
        self._remaining = FRAME_STEPS
        self._unanswered = self._patience = 0

    def expect(self) -> None:
        """Expect a command, after a frame; the first frame of a rollout has none."""
        is_awaited = self._frames > 0 and self._unanswered < MAX_UNANSWERED
        self._frames += 1
        self._unanswered += 1
        self._patience = PATIENCE if is_awaited else 0

    def put_off(self) -> bool:
        """Return whether the control step that is due is put off until the command comes."""
        if self._patience == 0:
            return False
        self._patience -= 1
        return True

    def drop(self) -> None:
        """Forget the motion at once."""
        self._remaining = self._patience = 0

    def next_action(self) -> npt.NDArray[np.float64]:
        """Return the action (4,) for the next control step."""
        if self._remaining == 0:
            return np.array([0.0, 0.0, 0.0, self._action[3]])
        self._remaining -= 1
        return self._action
