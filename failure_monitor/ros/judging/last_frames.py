# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The last frames of a camera, kept as they came and made JPEG only when they are asked for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import cv2
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from failure_monitor.bundle.input_types import COMPRESSED
from failure_monitor.messages.camera_image import (
    CameraImageError,
    image_size,
    read_camera_image,
)

MAX_BYTES = 32_000_000
"""Bytes of a frame; larger ones are left out."""

MAX_AGE = 2.0
"""Seconds that the newest frame may be old when a rollout has ended."""

QUALITY = 85
"""Of a JPEG picture, in percent."""


class LastFrames:
    """Keeps some frames, with a time between them."""

    def __init__(self, node: Node, topic: str, *, count: int, period: float) -> None:
        """Subscribe.

        Args:
            node: the node.
            topic: the camera's topic.
            count: number of frames that are kept.
            period: seconds from one of these to the next.
        """
        self._type = CompressedImage if topic.endswith(COMPRESSED) else Image
        self._period = period
        self._kept: deque[tuple[float, bytes]] = deque(maxlen=count)
        self._newest: tuple[float, bytes] | None = None
        node.create_subscription(
            self._type, topic, self._receive, qos_profile_sensor_data, raw=True
        )

    def take(self) -> Sequence[bytes]:
        """Return the frames that are kept, the newest one among them, in order of time.

        They are of the rollout that has just ended, and are kept no longer. There are none if the
        camera has been silent: what it showed last is not how the rollout ended.
        """
        newest, kept = self._newest, [frame for _, frame in self._kept]
        self._newest = None
        self._kept.clear()
        if newest is None or time.monotonic() - newest[0] > MAX_AGE:
            return ()
        if newest[1] is not (kept or [b""])[-1]:
            kept = [*kept, newest[1]]
        return kept[-(self._kept.maxlen or 1) :]

    def _receive(self, frame: bytes) -> None:
        if len(frame) > MAX_BYTES:
            return
        self._newest = time.monotonic(), frame
        if not self._kept or self._newest[0] - self._kept[-1][0] >= self._period:
            self._kept.append(self._newest)

    def jpeg(self, frame: bytes, width: int) -> bytes:
        """Return a frame as JPEG, of at most a width.

        Raises:
            CameraImageError: it holds no readable image.
        """
        try:
            message = deserialize_message(frame, self._type)
        except Exception:
            raise CameraImageError("a frame cannot be read") from None
        rows, columns = image_size(message)
        smaller = min(1.0, width / columns)
        size = max(1, round(rows * smaller)), max(1, round(columns * smaller))
        pixels = cv2.cvtColor(read_camera_image(message, *size), cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:
            raise CameraImageError("a frame cannot be made a JPEG")
        return bytes(data.tobytes())
