# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The still of an incident: the picture of the camera or the overlay when the alarm was raised."""

from __future__ import annotations

from pathlib import Path

import cv2
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from failure_monitor.errors import FailureMonitorError
from failure_monitor.incidents.memory import RecordedMessage
from failure_monitor.messages.camera_image import image_size, read_camera_image

STILL_STEM = "still"
IMAGE_TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}


class StillError(FailureMonitorError):
    """The messages on the topic of the still hold no picture."""


class Still:
    """Selects the first picture after the start of the incident, else the last one before."""

    def __init__(self, topic: str, nanoseconds: int) -> None:
        """Start without a message.

        Args:
            topic: The topic of pictures; empty for none.
            nanoseconds: The start of the incident, by the clock of the bag.
        """
        self._topic = topic
        self._nanoseconds = nanoseconds
        self._chosen: RecordedMessage | None = None

    def add(self, message: RecordedMessage) -> None:
        """Add the next message of any topic, in order of time."""
        if message.topic != self._topic:
            return
        if self._chosen is None or self._chosen.nanoseconds < self._nanoseconds:
            self._chosen = message

    def write(self, folder: Path) -> None:
        """Write the selected picture, if any, as `still.png` or as it was compressed.

        Raises:
            StillError: The message holds no picture.
            OSError: The disk is full or fails.
        """
        if self._chosen is None:
            return
        suffix, picture = _encoded(self._chosen)
        (folder / f"{STILL_STEM}{suffix}").write_bytes(picture)


def _encoded(message: RecordedMessage) -> tuple[str, bytes]:
    kind = IMAGE_TYPES.get(message.message_type)
    if kind is None:
        raise StillError(
            f"'{message.topic}' is a {message.message_type}, of which no still can be made: set "
            "'still_topic' to an Image or CompressedImage"
        )
    try:
        content = deserialize_message(message.data, kind)
    except Exception:  # rclpy raises whatever the middleware's plug-in does
        raise StillError(f"a message on '{message.topic}' cannot be read") from None
    if kind is CompressedImage:
        return (".png" if "png" in content.format else ".jpg"), bytes(content.data)
    try:
        image = read_camera_image(content, *image_size(content))
    except FailureMonitorError as error:
        raise StillError(f"no still can be made of '{message.topic}': {error}") from None
    encoded, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise StillError(f"a picture on '{message.topic}' cannot be encoded as PNG")
    return ".png", data.tobytes()
