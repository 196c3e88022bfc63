# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Gripper effect: whether the gripper did what state, commands and embedding let expect.

The residual of `base/joint_residual.py` over the positions and efforts of the gripper alone, which
among many joints would hardly count: fingers that close on nothing, slip, or cannot close. A joint
is a gripper's by its name: `gripper`, `finger`, `knuckle` or `jaw` is part of it.
"""

from __future__ import annotations

import re

from failure_monitor.scores.base.joint_residual import JointResidual

GRIPPER = re.compile("gripper|finger|knuckle|jaw", re.IGNORECASE)


class GripperEffect(JointResidual):
    """The residual of what the gripper did."""

    name = "gripper_effect"
    meaning = "the gripper did not open or close as it usually does there"
    counted = "a gripper (a joint with gripper, finger, knuckle or jaw in its name)"

    @classmethod
    def counts(cls, quantity: str) -> bool:
        """Those of the gripper's joints count."""
        return GRIPPER.search(quantity.rpartition("/")[0]) is not None
