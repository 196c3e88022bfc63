# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an encoder sees at a decision, and how it is read from messages of cameras and joints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.messages.camera_image import CameraImageError, read_camera_image
from failure_monitor.messages.joint_vector import JOINTS, JointVector
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.policy_models.models import ObservationEncoder


@dataclass(frozen=True, eq=False)
class Observation:
    """What an encoder sees at a decision.

    Attributes:
        stamp: when it was made, in nanoseconds.
        images: RGB, uint8 (height, width, 3), by camera, of the sizes that the encoder takes.
        joints: float32 (J,), in the encoder's order; None if it takes none.
    """

    stamp: int
    images: Mapping[str, NDArray[np.uint8]]
    joints: NDArray[np.float32] | None


class ObservationReader:
    """Reads matched messages into what an encoder takes."""

    def __init__(self, encoder: ObservationEncoder) -> None:
        self._cameras = encoder.cameras
        self._joints = JointVector(encoder.joint_names) if encoder.joint_names else None

    def read(self, matched: MatchedMessages) -> Observation:
        """The observation that messages of all cameras, and of the joints, make.

        Raises:
            CameraImageError: a camera's message holds no image that can be read; names it.
            JointStateError: the joint state does not hold the encoder's joints.
        """
        images: dict[str, NDArray[np.uint8]] = {}
        for name, size in self._cameras.items():
            try:
                images[name] = read_camera_image(matched.messages[name], size.height, size.width)
            except CameraImageError as error:
                raise CameraImageError(f"camera '{name}': {error}") from None
        joints = None if self._joints is None else self._joints.read(matched.messages[JOINTS])
        return Observation(matched.stamp, images, joints)
