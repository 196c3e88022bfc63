# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the arm executes between commands: the last one while it is fresh, then nothing."""

import numpy as np
import numpy.typing as npt

from failure_monitor.demo.tasks import ACTION_NAMES, FRAME_STEPS
from failure_monitor.errors import FailureMonitorError


class CommandHold:
    """Holds a command for one camera period; afterwards the arm stands and the grip stays."""

    def __init__(self) -> None:
        self._action = np.zeros(len(ACTION_NAMES))
        self._remaining = 0

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

    def drop(self) -> None:
        """Forget the motion at once."""
        self._remaining = 0

    def next_action(self) -> npt.NDArray[np.float64]:
        """Return the action (4,) for the next control step."""
        if self._remaining == 0:
            return np.array([0.0, 0.0, 0.0, self._action[3]])
        self._remaining -= 1
        return self._action
