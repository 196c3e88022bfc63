# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a robot's joints did from one decision to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class JointMotion:
    """Measured quantities of the joints, at one decision (Q,) or at every decision (T, Q).

    A quantity is a joint's position, velocity or effort, in the units of its messages.

    Attributes:
        names: the names of the Q quantities, as `<joint>/position`, `<joint>/velocity` or
            `<joint>/effort`.
        states: float64, the newest values at the stamp of the decision.
        means: float64, the mean over all values after the stamp of the decision before, up to
            this one's; NaN at a rollout's first decision, and where no value came in between.
        command_names: the names of the C values of a command, as sent to the robot; empty if
            commands were not recorded.
        commands: float64 (C,) or (T, C), the mean over the commands sent since the stamp of the
            decision before; NaN where none was. None if they were not recorded.
    """

    names: tuple[str, ...]
    states: NDArray[np.float64]
    means: NDArray[np.float64]
    command_names: tuple[str, ...] = ()
    commands: NDArray[np.float64] | None = None

    def at(self, decisions: int | slice) -> JointMotion:
        """Return that of one decision, or of several in a row, of those of all decisions."""
        return replace(
            self,
            states=self.states[decisions],
            means=self.means[decisions],
            commands=None if self.commands is None else self.commands[decisions],
        )

    def as_rollout(self) -> JointMotion:
        """Return that of one decision as that of a rollout of one decision."""
        return replace(
            self,
            states=self.states[np.newaxis],
            means=self.means[np.newaxis],
            commands=None if self.commands is None else self.commands[np.newaxis],
        )
