# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The observation that an encoder takes, and how it is read from cameras and joint states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.messages.camera_image import CameraImageError, read_camera_image
from failure_monitor.messages.joint_vector import JOINTS, JointVector
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.policy_models.models import ObservationEncoder


@dataclass(frozen=True, eq=False)
class Observation:
    """The observation at a decision.

    Attributes:
        stamp: when it was made, in nanoseconds.
        images: the RGB images, uint8 (height, width, 3), by camera, of the encoder's sizes.
        joints: the joint positions, float32 (J,), in the encoder's order; None if it takes none.
    """

    stamp: int
    images: Mapping[str, NDArray[np.uint8]]
    joints: NDArray[np.float32] | None


class ObservationReader:
    """A reader of an encoder's observations from matched messages."""

    def __init__(self, encoder: ObservationEncoder) -> None:
        self._cameras = encoder.cameras
        self._joints = JointVector(encoder.joint_names) if encoder.joint_names else None

    def read(self, matched: MatchedMessages) -> Observation:
        """Read the observation in matched messages.

        Raises:
            CameraImageError: a camera's message has no readable image; names the camera.
            JointStateError: the joint state lacks a usable position of an encoder's joint.
        """
        images = {name: self.read_image(name, matched.messages[name]) for name in self._cameras}
        joints = None if self._joints is None else self.read_joints(matched.messages[JOINTS])
        return Observation(matched.stamp, images, joints)

    def read_image(self, camera: str, message: Any) -> NDArray[np.uint8]:
        """Read the image of a camera.

        Raises:
            CameraImageError: the message has no readable image; names the camera.
        """
        size = self._cameras[camera]
        try:
            return read_camera_image(message, size.height, size.width)
        except CameraImageError as error:
            raise CameraImageError(f"camera '{camera}': {error}") from None

    def read_joints(self, message: Any) -> NDArray[np.float32] | None:
        """Read the joints of a joint state; None if the encoder takes none.

        Raises:
            JointStateError: it lacks a usable position of an encoder's joint.
        """
        return None if self._joints is None else self._joints.read(message)
