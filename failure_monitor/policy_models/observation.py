# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The observation that an encoder takes, and how it is read from cameras and joint states."""

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
        images: dict[str, NDArray[np.uint8]] = {}
        for name, size in self._cameras.items():
            try:
                images[name] = read_camera_image(matched.messages[name], size.height, size.width)
            except CameraImageError as error:
                raise CameraImageError(f"camera '{name}': {error}") from None
        joints = None if self._joints is None else self._joints.read(matched.messages[JOINTS])
        return Observation(matched.stamp, images, joints)
