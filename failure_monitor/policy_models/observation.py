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
        images: the RGB images, uint8 (height, width, 3), by camera, of the encoder's sizes; of an
            encoder with a history (K, height, width, 3), the newest last.
        joints: the joint positions, float32 (J,), in the encoder's order; of an encoder with a
            history (K, J); None if it takes none.
    """

    stamp: int
    images: Mapping[str, NDArray[np.uint8]]
    joints: NDArray[np.float32] | None


_Read = tuple[Mapping[str, NDArray[np.uint8]], NDArray[np.float32] | None]
"""The images and joints of one of an observation's moments."""


class ObservationReader:
    """A reader of an encoder's observations from matched messages."""

    def __init__(self, encoder: ObservationEncoder) -> None:
        self._cameras = encoder.cameras
        self._joints = JointVector(encoder.joint_names) if encoder.joint_names else None
        self._has_history = encoder.history is not None
        self._before: list[tuple[Mapping[str, Any], _Read]] = []

    def read(self, matched: MatchedMessages) -> Observation:
        """Read the observation in matched messages.

        Raises:
            CameraImageError: a camera's message has no readable image; names the camera.
            JointStateError: the joint state lacks a usable position of an encoder's joint.
        """
        if not self._has_history:
            return Observation(matched.stamp, *self._read(matched.messages))
        moments = [(messages, self._read_once(messages)) for messages in matched.all_messages]
        self._before = moments
        images = {
            name: np.stack([images[name] for _, (images, _) in moments]) for name in self._cameras
        }
        positions = [joints for _, (_, joints) in moments if joints is not None]
        return Observation(matched.stamp, images, np.stack(positions) if positions else None)

    def read_message(self, stream: str, message: Any) -> Any:
        """Read the image of a camera, or the positions of the stream `joints`.

        Raises:
            CameraImageError: the message has no readable image; names the camera.
            JointStateError: it lacks a usable position of an encoder's joint.
        """
        if stream == JOINTS:
            return None if self._joints is None else self._joints.read(message)
        size = self._cameras[stream]
        try:
            return read_camera_image(message, size.height, size.width)
        except CameraImageError as error:
            raise CameraImageError(f"camera '{stream}': {error}") from None

    def _read(self, messages: Mapping[str, Any]) -> _Read:
        images = {name: self.read_message(name, messages[name]) for name in self._cameras}
        joints = None if self._joints is None else self.read_message(JOINTS, messages[JOINTS])
        return images, joints

    def _read_once(self, messages: Mapping[str, Any]) -> _Read:
        """Read messages, unless they were of the observation before as well."""
        known = (read for before, read in self._before if before is messages)
        return next(known, None) or self._read(messages)
