# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Joint states to the vector of joint positions that a model takes, by joint names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError

JOINTS = "joints"
"""Name of the stream of joint states, and of a model's input for joint positions."""


class JointStateError(FailureMonitorError):
    """A joint state without a usable position of each joint."""


class JointVector:
    """A reader of a model's joints from joint states, in any order and among other joints.

    The message may be any object with the attributes `name` and `position` of
    sensor_msgs/JointState.
    """

    def __init__(self, joint_names: Sequence[str]) -> None:
        """Create the reader.

        Args:
            joint_names: the model's joints, in the model's order.
        """
        self._wanted = tuple(joint_names)
        self._names: tuple[str, ...] | None = None
        self._places: NDArray[np.intp] = np.empty(0, np.intp)

    def read(self, message: Any) -> NDArray[np.float32]:
        """Return the positions of the model's joints, float32 (J,), in the model's order.

        Raises:
            JointStateError: a joint is missing or repeated, the numbers of positions and names
                differ, or a position is NaN or infinite.
        """
        names = tuple(message.name)
        if names != self._names:
            self._places = self._find(names)
            self._names = names
        positions = np.asarray(message.position, np.float64)
        if positions.shape != (len(names),):
            raise JointStateError(
                f"the joint state names {len(names)} joints and has {positions.size} positions: "
                "check its publisher"
            )
        with np.errstate(over="ignore"):
            wanted = positions[self._places].astype(np.float32)
        if not np.isfinite(wanted).all():
            listed = ", ".join(
                name
                for name, value in zip(self._wanted, wanted, strict=True)
                if not np.isfinite(value)
            )
            raise JointStateError(
                f"the joint state's positions of {listed} are NaN or infinite: check the robot's "
                "driver"
            )
        return wanted

    def _find(self, names: tuple[str, ...]) -> NDArray[np.intp]:
        counts = Counter(names)
        missing = [name for name in self._wanted if name not in counts]
        if missing:
            raise JointStateError(
                f"the joint state lacks {', '.join(missing)}, it has "
                f"{', '.join(names) or 'none'}: "
                "name the topic that has all of them in one message (joint_state_publisher merges "
                "several), or export the model with the robot's names"
            )
        twice = [name for name in self._wanted if counts[name] > 1]
        if twice:
            raise JointStateError(
                f"the joint state has {', '.join(twice)} more than once, so it is unknown which "
                "position is right: check its publisher"
            )
        return np.array([names.index(name) for name in self._wanted], np.intp)
