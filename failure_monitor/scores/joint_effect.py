# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Joint effect: whether the joints did what state, commands and embedding let expect.

The residual of `base/joint_residual.py` over the positions and efforts of all joints; velocities
inform it. It sees changed dynamics, contact that should not be, a load that is missing, an arm
that is held or pushed.
"""

from __future__ import annotations

from failure_monitor.scores.base.joint_residual import JointResidual


class JointEffect(JointResidual):
    """The residual of what all joints did."""

    name = "joint_effect"
    meaning = "the joints did not do what was commanded as they usually do"
    counted = "a joint"

    @classmethod
    def counts(cls, quantity: str) -> bool:
        """Every position and effort counts."""
        return True
